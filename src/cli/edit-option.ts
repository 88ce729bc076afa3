/**
 * `--edit JSON`: an edit as the library takes it, whose value may also be `{"file": "x.safetensors", "tensor": "v"}`.
 * Whether the point exists and the value fits is for the library to say; here the text becomes an `Edit`, and what the
 * library says is given the edit's place in the list and the file of its value.
 */
import { InvalidArgumentError } from "commander";
import { toFloat32 } from "../checkpoint/index.ts";
import { SuperlensError } from "../errors.ts";
import type { Edit } from "../hooks/index.ts";
import { openModelSource } from "../model/load.ts";

/** A tensor in a safetensors file; the path is relative to the current folder. */
interface TensorInFile {
  file: string;
  tensor: string;
}

/** An edit whose value is still to be read. */
export type EditOption = Omit<Edit, "value"> & { value?: number | number[] | TensorInFile };

/** An edit, and what errors call it. */
export interface ReadEdit {
  edit: Edit;
  label: string;
}

const KEYS: readonly (keyof Edit)[] = [
  "at",
  "op",
  "value",
  "alpha",
  "expression",
  "rows",
  "positions",
  "heads",
  "dims",
];
const LISTS: readonly (keyof Edit)[] = ["rows", "positions", "heads", "dims"];
const SHAPE = '{"at": "blocks.0.hook_resid_post", "op": "scale", "value": 2, "positions": [-1]}';
const VALUES = 'a number, a flat list of numbers, or {"file": "x.safetensors", "tensor": "v"}';
/** Names that an error about a missing tensor lists. */
const MOST_NAMES = 8;

/** Parses one `--edit`; `place` counts from 1 and is in every error. */
export function parseEdit(text: string, place: number): EditOption {
  const fail = (message: string): never => {
    throw new InvalidArgumentError(`This is edit ${place}. ${message}`);
  };
  const edit = parseObject(text, fail);
  const unknown = Object.keys(edit).find((key) => !(KEYS as string[]).includes(key));
  if (unknown !== undefined) fail(`There is no "${unknown}" in an edit; there are ${KEYS.join(", ")}.`);
  if (typeof edit.at !== "string" || typeof edit.op !== "string") fail(`"at" and "op" must be text, as in ${SHAPE}`);
  const wrongList = LISTS.find((key) => edit[key] !== undefined && !isList(edit[key], Number.isSafeInteger));
  if (wrongList !== undefined) fail(`"${wrongList}" must be a list of whole numbers.`);
  if (edit.alpha !== undefined && !Number.isFinite(edit.alpha)) fail('"alpha" must be a number.');
  if (edit.expression !== undefined && typeof edit.expression !== "string") fail('"expression" must be text.');
  if (edit.value !== undefined && !isValue(edit.value)) fail(`"value" must be ${VALUES}.`);
  return edit as unknown as EditOption;
}

function parseObject(text: string, fail: (message: string) => never): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail(`It is not JSON (${(error as Error).message}). An edit looks like ${SHAPE}`);
  }
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  return fail(`It must be one JSON object, as in ${SHAPE}; give --edit once for each edit.`);
}

function isValue(value: unknown): boolean {
  return Number.isFinite(value) || isList(value, Number.isFinite) || isTensorInFile(value);
}

function isList(value: unknown, isEntry: (entry: unknown) => boolean): value is number[] {
  return Array.isArray(value) && value.every(isEntry);
}

function isTensorInFile(value: unknown): value is TensorInFile {
  const { file, tensor, ...others } = Object(value) as Partial<TensorInFile>;
  const isFile = typeof file === "string" && /\.safetensors(\?|#|$)/.test(file);
  return isFile && typeof tensor === "string" && Object.keys(others).length === 0;
}

/** The edits with their values read from the files they name. */
export async function readEdits(options: readonly EditOption[]): Promise<ReadEdit[]> {
  const read: ReadEdit[] = [];
  for (const [index, { value, ...edit }] of options.entries()) {
    const place = options.length === 1 ? "--edit" : `--edit ${index + 1} of ${options.length}`;
    if (!isTensorInFile(value)) {
      read.push({ edit: value === undefined ? edit : { ...edit, value }, label: place });
      continue;
    }
    const label = `${place}, whose value is ${value.tensor} of ${value.file}`;
    try {
      read.push({ edit: { ...edit, value: await readTensor(value) }, label });
    } catch (error) {
      throw labelled(error, label);
    }
  }
  return read;
}

/** Calls `check` with each edit; an error that it throws gets the edit's label. */
export function checkEach(edits: readonly ReadEdit[], check: (edit: Edit) => void): void {
  for (const { edit, label } of edits) {
    try {
      check(edit);
    } catch (error) {
      throw labelled(error, label);
    }
  }
}

function labelled(error: unknown, label: string): unknown {
  if (!(error instanceof SuperlensError)) return error;
  return new SuperlensError(error.code, `${label}: ${error.message}`, { cause: error });
}

async function readTensor({ file, tensor }: TensorInFile): Promise<Float32Array> {
  const checkpoint = await openModelSource(file);
  try {
    const info = checkpoint.tensors.get(tensor);
    if (info) return toFloat32(await checkpoint.read(tensor), info.dtype);
    const names = [...checkpoint.tensors.keys()];
    const more = names.length > MOST_NAMES ? `, and ${names.length - MOST_NAMES} more: superlens inspect ${file}` : "";
    const there = `It has ${names.slice(0, MOST_NAMES).join(", ") || "none"}${more}.`;
    throw new SuperlensError("cli/no-tensor", `the file has no tensor "${tensor}". ${there}`);
  } finally {
    await checkpoint.close();
  }
}

/**
 * `--edit JSON`: an edit as the library takes it, whose value may also be `{"file": "x.safetensors", "tensor": "v"}`.
 * Here the text becomes an `Edit`. The library checks that the point exists and the value fits; its error gets the edit's place
 * in the list and the file of its value.
 */
import { InvalidArgumentError, Option } from "commander";
import { toFloat32 } from "../checkpoint/index.ts";
import { SuperlensError } from "../errors.ts";
import { EDIT_FIELDS } from "../hooks/edit.ts";
import type { Edit } from "../hooks/index.ts";
import { openModelSource } from "../model/load.ts";
import * as s from "../schema/schema.ts";
import { collect } from "./options.ts";

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

const SHAPE = '{"at": "blocks.0.hook_resid_post", "op": "scale", "value": 2, "positions": [-1]}';
/** Names that an error about a missing tensor lists. */
const MOST_NAMES = 8;

const tensorInFile = s.object<TensorInFile>("a tensor in a file", {
  file: s.required(
    s.simple("a .safetensors file", (value) => typeof value === "string" && /\.safetensors(\?|#|$)/.test(value)),
  ),
  tensor: s.required(s.text),
});

/** The library's edit, but for the value. */
const EDIT_OPTION = s.object<EditOption>("an edit", {
  ...EDIT_FIELDS,
  value: s.byForm<EditOption["value"]>(
    'a number, a flat list of numbers, or {"file": "x.safetensors", "tensor": "v"}',
    (value) => {
      if (typeof value === "number") return s.finite;
      if (s.isListLike(value)) return s.list("numbers", s.finite);
      return typeof value === "object" && value !== null ? tensorInFile : undefined;
    },
  ),
});

/** `--edit`, any number of times. */
export const editOption = (meaning: string): Option =>
  new Option("--edit <json>", meaning).argParser(collect((text, earlier) => parseEdit(text, earlier.length + 1)));

/** Parses one `--edit`; `place` counts from 1 and is in every error. */
export function parseEdit(text: string, place: number): EditOption {
  const label = `edit ${place}`;
  try {
    return s.readOptions(EDIT_OPTION, parseObject(text), label);
  } catch (error) {
    if (error instanceof SuperlensError) throw new InvalidArgumentError(error.message);
    throw new InvalidArgumentError(`${label}: ${(error as Error).message}`);
  }
}

function parseObject(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`it is not JSON (${(error as Error).message}). An edit looks like ${SHAPE}`);
  }
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return value;
  throw new Error(`it must be one JSON object, as in ${SHAPE}; give --edit once for each edit.`);
}

function isTensorInFile(value: EditOption["value"]): value is TensorInFile {
  return typeof value === "object" && "tensor" in value;
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

/**
 * What `quantization_config` of a `config.json` says of weights that another tool quantised: one row of `METHODS` for each tool,
 * and whatever it says in one form. What is not read is refused by name.
 */
import { ConfigError } from "../../errors.ts";
import { isObject } from "../json.ts";

/** How codes lie in their tensor: one after the other, so many bits of 32-bit words, or in MXFP4's blocks of 32. */
export type CodeLayout = "numbers" | "packed 4" | "packed 8" | "mxfp4";

/** How the weights of a checkpoint are quantised. */
export interface Quantization {
  /** For people, such as `compressed-tensors, int-quantized`. */
  readonly name: string;
  readonly layout: CodeLayout;
  /** What follows a weight's name in those of its codes, scales and zero points. A weight without scales is a float. */
  readonly suffixes: { readonly codes: string; readonly scales: string; readonly zeros?: string };
  /** [rows, columns] that share a scale; the shape of the scales tells when absent. */
  readonly block?: readonly [number, number];
  /** Columns that share a scale, one or more to choose from; any number that divides a row when absent. */
  readonly groupSizes?: readonly number[];
  /** Tensors that no weight needs: scales of activations, and zero points that are all zero. */
  readonly idle: RegExp;
  /** Whether the model was made to quantise its activations too. */
  readonly quantizesActivations: boolean;
}

type Settings = Readonly<Record<string, unknown>>;
/** Refuses a setting by its path below `quantization_config`. */
type Refuse = (path: string, value: unknown, read?: string) => never;

const METHODS: ReadonlyMap<string, (settings: Settings, refuse: Refuse) => Quantization> = new Map([
  ["compressed-tensors", compressedTensors],
  ["fp8", fineGrainedFp8],
  ["mxfp4", mxfp4],
]);

/** Scales of activations, and of keys and values in a cache. */
const OF_ACTIVATIONS = /(?:^|[._])(?:input|output|activation|[kvq])_(?:scale|zero_point|global_scale)$/;

/**
 * How the weights of a model are quantised; undefined where they are not.
 * @param config the contents of `config.json`
 * @param label the file's name, for messages
 * @throws ConfigError `config/unsupported`, naming the setting
 */
export function readQuantization(config: unknown, label: string): Quantization | undefined {
  const settings = isObject(config) ? config.quantization_config : undefined;
  if (settings === undefined || settings === null) return undefined;
  const refuse: Refuse = (path, value, read) => {
    const shown = JSON.stringify(value) ?? "missing";
    throw new ConfigError(
      "config/unsupported",
      `${label}: quantization_config${path} = ${shown.length > 80 ? `${shown.slice(0, 80)}...` : shown} is not read${read ? ` (read: ${read})` : ""}. ` +
        "Take the model that was quantised, or a GGUF file of it, and give loadModel `weights` if it should be small.",
    );
  };
  if (!isObject(settings)) return refuse("", settings, "an object");
  const method = METHODS.get(String(settings.quant_method));
  if (!method) return refuse(".quant_method", settings.quant_method, [...METHODS.keys()].join(", "));
  return method(settings, refuse);
}

/** compressed-tensors' formats that are read, and how each has its codes. */
const FORMATS: Readonly<Record<string, (bits: number) => CodeLayout>> = {
  "int-quantized": () => "numbers",
  "float-quantized": () => "numbers",
  "naive-quantized": () => "numbers",
  "pack-quantized": (bits) => `packed ${bits}` as CodeLayout,
};
const PACKED_BITS = [4, 8];
const STRATEGIES = ["tensor", "channel", "group", "block"];

/**
 * compressed-tensors: `weight` or `weight_packed`, `weight_scale` and, of weights that are not symmetric, `weight_zero_point`
 * (https://github.com/vllm-project/compressed-tensors). Groups of modules may differ in nothing that is read here.
 */
function compressedTensors(settings: Settings, refuse: Refuse): Quantization {
  refuseUnlessEmpty(settings, "transform_config", refuse);
  const sparsity = settings.sparsity_config;
  if (isObject(sparsity) && (sparsity.format ?? "dense") !== "dense")
    refuse(".sparsity_config.format", sparsity.format, "dense");
  const groups = Object.entries(isObject(settings.config_groups) ? settings.config_groups : {});
  if (groups.length === 0) return refuse(".config_groups", settings.config_groups, "one group or more");
  const read = groups.map(([name, group]) =>
    groupOf(isObject(group) ? group : {}, settings.format, (path, ...rest) =>
      refuse(`.config_groups.${name}${path}`, ...rest),
    ),
  );
  const [first, ...others] = read as [Quantization, ...Quantization[]];
  const shape = ({ layout, suffixes, block }: Quantization) => JSON.stringify([layout, suffixes, block]);
  if (others.some((other) => shape(other) !== shape(first)))
    refuse(".config_groups", settings.config_groups, "groups that are quantised alike");
  const quantizesActivations = read.some((each) => each.quantizesActivations) || settings.kv_cache_scheme != null;
  const groupSizes = read.flatMap((each) => each.groupSizes ?? []);
  const { groupSizes: _own, ...shared } = first;
  return { ...shared, quantizesActivations, ...(groupSizes.length === read.length && { groupSizes }) };
}

function groupOf(group: Settings, shared: unknown, refuse: Refuse): Quantization {
  const format = String(group.format ?? shared);
  const layoutOf = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
  if (!layoutOf) return refuse(".format", group.format ?? shared, Object.keys(FORMATS).join(", "));
  const weights = isObject(group.weights) ? group.weights : {};
  const { strategy, num_bits: bits, actorder } = weights;
  if (!STRATEGIES.includes(String(strategy))) refuse(".weights.strategy", strategy, STRATEGIES.join(", "));
  if (format === "pack-quantized" && !PACKED_BITS.includes(Number(bits))) refuse(".weights.num_bits", bits, "4, 8");
  // Otherwise columns are in the order of the file, whatever order they were quantised in.
  if (actorder === "group" || actorder === true) refuse(".weights.actorder", actorder, "null, static, weight");
  const isSymmetric = weights.symmetric !== false;
  const layout = layoutOf(Number(bits));
  const block = weights.block_structure;
  if (strategy === "block" && !isBlock(block)) refuse(".weights.block_structure", block, "two whole numbers");
  const size = weights.group_size;
  if (strategy === "group" && !isWhole(size)) refuse(".weights.group_size", size, "a whole number");
  return {
    name: `compressed-tensors, ${format}`,
    layout,
    suffixes: {
      codes: layout === "numbers" ? "" : "_packed",
      scales: "_scale",
      ...(!isSymmetric && { zeros: "_zero_point" }),
    },
    ...(strategy === "block" && { block: block as [number, number] }),
    ...(strategy === "group" && { groupSizes: [size as number] }),
    idle: new RegExp(`${OF_ACTIVATIONS.source}|weight_shape$${isSymmetric ? "|weight_zero_point$" : ""}`),
    quantizesActivations: isObject(group.input_activations) || isObject(group.output_activations),
  };
}

/** DeepSeek's f8: `weight_scale_inv` by which a block of a weight is multiplied, or the whole of it (transformers' `finegrained_fp8`). */
function fineGrainedFp8(settings: Settings, refuse: Refuse): Quantization {
  if ((settings.fmt ?? "e4m3") !== "e4m3") refuse(".fmt", settings.fmt, "e4m3");
  const block = settings.weight_block_size;
  if (block != null && !isBlock(block)) refuse(".weight_block_size", block, "two whole numbers, or null");
  return {
    name: `fp8${block == null ? "" : ` in blocks of ${(block as number[]).join(" x ")}`}`,
    layout: "numbers",
    suffixes: { codes: "", scales: "_scale_inv" },
    ...(block != null && { block: block as [number, number] }),
    idle: OF_ACTIVATIONS,
    quantizesActivations: settings.activation_scheme != null,
  };
}

/** gpt-oss: `NAME_blocks`, [.., blocks of a row, 16], and `NAME_scales`, an exponent for each block of 32. */
function mxfp4(): Quantization {
  const suffixes = { codes: "_blocks", scales: "_scales" };
  return { name: "mxfp4", layout: "mxfp4", suffixes, idle: OF_ACTIVATIONS, quantizesActivations: false };
}

const isWhole = (value: unknown) => Number.isInteger(value) && (value as number) > 0;

const isBlock = (value: unknown): value is [number, number] =>
  Array.isArray(value) && value.length === 2 && value.every(isWhole);

function refuseUnlessEmpty(settings: Settings, key: string, refuse: Refuse): void {
  const value = settings[key];
  if (isObject(value) && Object.keys(value).length > 0) refuse(`.${key}`, value, "none");
}

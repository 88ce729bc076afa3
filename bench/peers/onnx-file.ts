/**
 * Writes an ONNX model: the messages of onnx.proto that a small graph needs, by field number
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), and protobufjs to encode them. Weights are not in the file:
 * each names a byte range of the safetensors file, so a model of any size stays far below protobuf's 2 GB.
 */
import protobuf from "protobufjs";
import { WEIGHTS_FILE, type Weights } from "./weights.ts";

export type Attributes = Record<string, number | number[] | { float: number }>;

export interface Node {
  name: string;
  type: string;
  domain: string;
  /** "" for an optional input that is left out. */
  inputs: string[];
  outputs: string[];
  attributes: Attributes;
}

export interface GraphInput {
  name: string;
  type: "float" | "int32" | "int64";
  /** Names stand for sizes that vary. */
  shape: (number | string)[];
}

export interface OnnxModel {
  nodes: readonly Node[];
  weights: Weights;
  /** Small tensors that are kept in the file. */
  constants: ReadonlyMap<string, { type: "float" | "int64"; shape: number[]; values: number[] }>;
  inputs: readonly GraphInput[];
  /** All of float. */
  outputs: readonly string[];
}

const OPSET = 18;
const IR_VERSION = 9;
const DATA_TYPES = { float: 1, int32: 6, int64: 7 } as const;
const ATTRIBUTE_TYPES = { float: 1, int: 2, ints: 7 } as const;
const EXTERNAL = 1;

const MESSAGES = `
  syntax = "proto3";
  message Model { int64 ir_version = 1; string producer_name = 2; Graph graph = 7; repeated Opset opset_import = 8; }
  message Opset { string domain = 1; int64 version = 2; }
  message Graph {
    repeated Node node = 1; string name = 2; repeated Tensor initializer = 5;
    repeated Value input = 11; repeated Value output = 12;
  }
  message Node {
    repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4;
    repeated Attribute attribute = 5; string domain = 7;
  }
  message Attribute { string name = 1; float f = 2; int64 i = 3; repeated int64 ints = 8; int32 type = 20; }
  message Tensor {
    repeated int64 dims = 1; int32 data_type = 2; repeated float float_data = 4; repeated int64 int64_data = 7;
    string name = 8; repeated Entry external_data = 13; int32 data_location = 14;
  }
  message Entry { string key = 1; string value = 2; }
  message Value { string name = 1; Type type = 2; }
  message Type { TensorType tensor_type = 1; }
  message TensorType { int32 elem_type = 1; Shape shape = 2; }
  message Shape { repeated Dimension dim = 1; }
  message Dimension { oneof value { int64 dim_value = 1; string dim_param = 2; } }
`;

export function encodeModel(model: OnnxModel): Uint8Array {
  const Model = protobuf.parse(MESSAGES, { keepCase: true }).root.lookupType("Model");
  const graph = {
    name: "gpt2",
    node: model.nodes.map(encodeNode),
    initializer: [...externalTensors(model.weights), ...constantTensors(model.constants)],
    input: model.inputs.map(({ name, type, shape }) => encodeValue(name, type, shape)),
    output: model.outputs.map((name) => encodeValue(name, "float")),
  };
  const opsets = [
    { domain: "", version: OPSET },
    { domain: "com.microsoft", version: 1 },
  ];
  const message = { ir_version: IR_VERSION, producer_name: "superlens peers", graph, opset_import: opsets };
  return Model.encode(Model.fromObject(message)).finish();
}

function encodeNode({ name, type, domain, inputs, outputs, attributes }: Node) {
  return {
    name,
    op_type: type,
    domain,
    input: inputs,
    output: outputs,
    attribute: Object.entries(attributes).map(([key, value]) => encodeAttribute(key, value)),
  };
}

function encodeAttribute(name: string, value: Attributes[string]) {
  if (typeof value === "number") return { name, type: ATTRIBUTE_TYPES.int, i: value };
  if (Array.isArray(value)) return { name, type: ATTRIBUTE_TYPES.ints, ints: value };
  return { name, type: ATTRIBUTE_TYPES.float, f: value.float };
}

function externalTensors({ byName }: Weights) {
  return [...byName].map(([name, { shape, data, byteStart }]) => {
    const range = { location: WEIGHTS_FILE, offset: byteStart, length: data.byteLength };
    const entries = Object.entries(range).map(([key, value]) => ({ key, value: String(value) }));
    const tensor = { name, dims: [...shape], data_type: DATA_TYPES.float };
    return { ...tensor, data_location: EXTERNAL, external_data: entries };
  });
}

function constantTensors(constants: OnnxModel["constants"]) {
  return [...constants].map(([name, { type, shape, values }]) => {
    const data = type === "float" ? { float_data: values } : { int64_data: values };
    return { name, dims: shape, data_type: DATA_TYPES[type], ...data };
  });
}

/** An input or output; an output's shape is left to the runtime. */
function encodeValue(name: string, type: GraphInput["type"], shape?: GraphInput["shape"]) {
  const dim = shape?.map((size) => (typeof size === "number" ? { dim_value: size } : { dim_param: size }));
  return { name, type: { tensor_type: { elem_type: DATA_TYPES[type], ...(dim && { shape: { dim } }) } } };
}

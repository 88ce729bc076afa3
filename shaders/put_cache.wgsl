// Queries, keys and values in one matmul: queries go to `out`, keys and values of row r to the slot rowTable[r].z. Saves a
// dispatch a layer where keys are not rotated in between.
// keys, values: [slot, kvWidth].

@group(1) @binding(4) var<storage, read> rowTable: array<vec4<u32>>;
@group(1) @binding(5) var<storage, read_write> keys: array<f32>;
@group(1) @binding(6) var<storage, read_write> values: array<f32>;

fn put(call: Params, row: u32, column: u32, value: f32) {
  let n = call.biasStart + column; // of the whole matrix, of which this may be a part
  if (n < call.queryWidth) {
    out[call.outStart + row * call.outStride + column] = value;
    return;
  }
  let at = rowTable[row].z * call.kvWidth + n - call.queryWidth;
  if (n < call.queryWidth + call.kvWidth) {
    keys[at] = value;
  } else {
    values[at - call.kvWidth] = value;
  }
}

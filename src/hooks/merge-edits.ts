/**
 * Many cells, few dispatches: edits of different cells at one point become one edit, if they differ only in selection and
 * values.
 */
import { Tensor } from "../gpu/tensor.ts";
import type { CompiledEdit } from "./edit.ts";

/**
 * The edits of all cells, cell i as sequence i. Edits of one cell at one point keep their order; the k-th of each cell
 * are merged where op, expression, dimensions and kind of value agree.
 */
export function mergeEdits(cells: readonly (readonly CompiledEdit[])[]): CompiledEdit[] {
  const groups = new Map<string, { edit: CompiledEdit; cell: number }[]>();
  const tensorIds = new Map<Tensor, number>();
  cells.forEach((edits, cell) => {
    const turns = new Map<string, number>();
    for (const edit of edits) {
      const turn = turns.get(edit.point.name) ?? 0;
      turns.set(edit.point.name, turn + 1);
      const key = `${turn}|${kindOf(edit, tensorIds)}`;
      const group = groups.get(key);
      if (group) group.push({ edit, cell });
      else groups.set(key, [{ edit, cell }]);
    }
  });
  // By turn first: the k-th edit of a point comes after every earlier one, whatever their kinds.
  return [...groups]
    .sort(([a], [b]) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
    .map(([, group]) => mergeGroup(group));
}

function kindOf(edit: CompiledEdit, tensorIds: Map<Tensor, number>): string {
  const { point, op, expression, dims, valueStride, byCoordinate, values } = edit;
  let source = "array";
  if (values instanceof Tensor) {
    if (!tensorIds.has(values)) tensorIds.set(values, tensorIds.size);
    source = `tensor ${tensorIds.get(values)}`;
  }
  return [point.name, op, expression, dims?.join(), valueStride, byCoordinate, source].join("|");
}

function mergeGroup(group: readonly { edit: CompiledEdit; cell: number }[]): CompiledEdit {
  const { edit: first } = group[0] as { edit: CompiledEdit };
  const arrays = group.flatMap(({ edit }) => (edit.values instanceof Tensor ? [] : [edit.values]));
  const values =
    first.values instanceof Tensor
      ? first.values
      : new Float32Array(arrays.reduce((sum, array) => sum + array.length, 0));
  let offset = 0;
  const targets = group.flatMap(({ edit, cell }) => {
    const start = offset;
    if (!(edit.values instanceof Tensor)) {
      (values as Float32Array).set(edit.values, offset);
      offset += edit.values.length;
    }
    return edit.targets.map((target) => ({ ...target, sequence: cell, valueStart: target.valueStart + start }));
  });
  return { ...first, values, targets };
}

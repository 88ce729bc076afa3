/** What was read of one layer: readers come layer by layer, and those of a layer read the same weights and points. */
export type HeldByLayer = (layer: number, name: string, read: () => Promise<Float32Array>) => Promise<Float32Array>;

/** Reads each name of a layer once, and lets it go when another layer is asked for. */
export function heldByLayer(): HeldByLayer {
  let held = { layer: -1, values: new Map<string, Promise<Float32Array>>() };
  return (layer, name, read) => {
    if (held.layer !== layer) held = { layer, values: new Map() };
    const values = held.values.get(name) ?? read();
    held.values.set(name, values);
    return values;
  };
}

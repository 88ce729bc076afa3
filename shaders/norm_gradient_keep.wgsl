// dy * y of a norm's gradient, [rowCount, groups, width], for that of its weight.

@group(1) @binding(3) var<storage, read_write> product: array<Element>;

fn keep(at: u32, value: Element) {
  product[at] = value;
}

/** Plans are kept by the form of a pass and by what happens at its points; the least recently used ones go. */
import { describe, expect, it } from "vitest";
import { Plans } from "../../src/model/plans.ts";
import type { PassForm } from "../../src/model/trace.ts";
import type { PassHooks } from "../../src/ops/bindings.ts";
import { fixture } from "./support.ts";

const hooksAt = (points: Partial<Record<"edits" | "callbacks" | "captures", string>>) => {
  const list = (point: string | undefined) => (point === undefined ? [] : [{ at: point, name: point }]);
  return {
    edits: list(points.edits),
    callbacks: list(points.callbacks),
    captures: list(points.captures),
  } as unknown as PassHooks;
};

describe("plans", () => {
  it("are one for each form and each set of hooked points", async () => {
    const plans = new Plans((await fixture("gpt2")).spec);
    const forms: PassForm[] = [{}, { narrow: true }, { joins: true }, { embeds: true }, { logits: "picked" }];
    const hooks = [
      undefined,
      hooksAt({ edits: "hook_embed" }),
      hooksAt({ captures: "hook_embed" }),
      hooksAt({ callbacks: "hook_embed" }),
      hooksAt({ captures: "blocks.1.hook_resid_post" }),
    ];
    const all = () => forms.flatMap((form) => hooks.map((each) => plans.of({ ...form }, each)));
    const first = all();
    expect(new Set(first).size).toBe(forms.length * hooks.length);
    for (const [index, plan] of all().entries()) expect(plan).toBe(first[index]);
  });

  it("go when 64 others were used since", async () => {
    const plans = new Plans((await fixture("gpt2")).spec);
    const often = plans.of({}, undefined);
    const once = plans.of({ narrow: true }, undefined);
    for (let other = 0; other < 64; other++) {
      plans.of({ stopAtLayer: 1 }, hooksAt({ captures: `unknown ${other}` }));
      expect(plans.of({}, undefined)).toBe(often);
    }
    expect(plans.of({ narrow: true }, undefined)).not.toBe(once);
  });
});

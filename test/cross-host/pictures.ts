/** Pictures on every host: the same bytes, and what a notebook asks for. */
import { goldenPicture } from "../pictures/golden.ts";
import { type Check, expectEqual } from "./harness.ts";

export const pictureChecks: Check[] = [
  {
    name: "pictures: an SVG has the same bytes as on other hosts",
    async run({ loadFixture }) {
      const there = new TextDecoder().decode(await loadFixture("pictures/heat-map.svg"));
      const here = await goldenPicture().svg();
      expectEqual(here, there, "the SVG");
      return `${here.length} characters`;
    },
  },
  {
    name: "pictures: a notebook gets an SVG and the specification",
    async run() {
      const picture = goldenPicture();
      const display = (picture as unknown as Record<symbol, () => Promise<Record<string, unknown>>>)[
        Symbol.for("Jupyter.display")
      ];
      const shown = await display?.call(picture);
      expectEqual(shown?.["image/svg+xml"], await picture.svg(), "image/svg+xml");
      expectEqual(shown?.["application/vnd.vegalite.v6+json"], picture.spec, "the specification");
      return undefined;
    },
  },
];

/** Scripts run by themselves: what they take from the tests must not need vitest, which throws outside of a test run. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { bundleOptions } from "../../scripts/build.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const scripts = ["scripts", "bench"].flatMap((folder) =>
  readdirSync(join(ROOT, folder))
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`),
);

it("no script needs vitest", async () => {
  const { metafile } = await build({
    ...bundleOptions,
    stdin: { contents: scripts.map((name) => `import "./${name}";`).join("\n"), resolveDir: ROOT },
    platform: "node",
    packages: "external",
    metafile: true,
    write: false,
  });
  expect(scripts).toContain("scripts/golden-folder.ts");
  const needing = Object.entries(metafile.inputs).filter(([, { imports }]) =>
    imports.some(({ path }) => path === "vitest"),
  );
  expect(needing.map(([name]) => name)).toEqual([]);
});

/** Serves the page of dist/page, which shows a model in the browser, to browsers on this computer. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import sirv from "sirv";
import { commitName } from "./commit.ts";
import type { Handler, LocalServer } from "./local-server.ts";
import { packageRoot } from "./package.ts";
import { ISOLATED, openPort } from "./served-page.ts";

/** @throws SuperlensError `cli/port` when the port is taken. */
export async function serveSite(port: number): Promise<LocalServer> {
  const root = packageRoot();
  await buildSite(root);
  const setHeaders = (response: { setHeader(name: string, value: string): void }) => {
    for (const [name, value] of Object.entries(ISOLATED)) response.setHeader(name, value);
  };
  const files = sirv(join(root, "dist/page"), { etag: true, setHeaders });
  const info = JSON.stringify({ commit: commitName() });
  const sendFile: Handler = (path, request, response) => {
    if (path === "/info.json") response.writeHead(200, { "content-type": "application/json", ...ISOLATED }).end(info);
    else {
      request.url = encodeURI(path); // a target may be a whole address
      files(request, response, () => void response.writeHead(404).end());
    }
  };
  return openPort(sendFile, port);
}

/** In a clone the page is bundled from its sources; a package brings it. */
async function buildSite(root: string): Promise<void> {
  if (!existsSync(join(root, "src/web/main.tsx"))) return;
  const build = (await import(pathToFileURL(join(root, "scripts/build.mjs")).href)) as { buildSite(): Promise<void> };
  await build.buildSite();
}

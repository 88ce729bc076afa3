/** Where files go, as an argument of calls: the name of a folder, or a store. */
import { type FileStore, isStore } from "../checkpoint/store.ts";
import * as s from "../schema/schema.ts";

export const STORE = s.byForm<string | FileStore>("a folder, or a store such as new MemoryStore()", (value) =>
  typeof value === "string" ? s.text : isStore(value) ? s.simple("a store", isStore) : undefined,
);

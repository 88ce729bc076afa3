/**
 * `npm test` runs in minutes, so that everybody runs it. Cases that take long and differ from others in numbers alone run
 * at night (`npm run test:nightly` sets `SUPERLENS_NIGHTLY`); one of each kind runs by day, too.
 */
export const isNight = process.env.SUPERLENS_NIGHTLY === "1";

/** All cases at night; by day those of `chosen`, a list or what holds for them: one of each kind. */
export function byDay<Case>(
  all: readonly Case[],
  chosen: readonly Case[] | ((each: Case, index: number) => boolean),
): readonly Case[] {
  const day = typeof chosen === "function" ? all.filter(chosen) : chosen;
  const unknown = day.filter((each) => !all.includes(each));
  if (day.length === 0 || unknown.length > 0) throw new Error(`By day there is no case ${unknown}.`);
  return isNight ? all : day;
}

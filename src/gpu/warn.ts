/** Prints a warning of superlens on the console. */
export function warn(message: string): void {
  console.warn(`superlens: ${message}`);
}

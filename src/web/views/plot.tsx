/** A figure that the worker draws. It is shown as an image: a policy without inline styles allows no SVG in the page itself. */
import { useEffect, useState } from "preact/hooks";
import type { Engine } from "../client.ts";
import type { FigureSpec } from "../engine/figures.ts";
import { useCall } from "../use-call.ts";
import { CallStatus } from "../widgets.tsx";

export function Plot({ engine, spec, label }: { engine: Engine; spec: FigureSpec; label: string }) {
  const figure = useCall(engine, "figure", spec);
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    if (figure.result === undefined) return;
    const made = URL.createObjectURL(new Blob([figure.result], { type: "image/svg+xml" }));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [figure.result]);
  return (
    <>
      {figure.error && <CallStatus call={figure} what="Drawing" />}
      {address && <img class="plot" src={address} alt={label} />}
    </>
  );
}

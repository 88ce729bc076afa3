/** A figure that the worker draws. It is shown as an image: a policy without inline styles allows no SVG in the page itself. */
import { useEffect, useState } from "preact/hooks";
import type { Engine } from "../client.ts";
import type { FigureSpec } from "../engine/figures.ts";
import { useCall } from "../use-call.ts";
import { CallStatus } from "../widgets.tsx";

export function Plot({ engine, spec, label }: { engine: Engine; spec: FigureSpec; label: string }) {
  const figure = useCall(engine, "figure", spec);
  return (
    <>
      {figure.error && <CallStatus call={figure} what="Drawing" />}
      {figure.result !== undefined && <Image svg={figure.result} label={label} />}
    </>
  );
}

/** An SVG as an image. */
export function Image({ svg, label }: { svg: string; label: string }) {
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [svg]);
  return address === undefined ? null : <img class="plot" src={address} alt={label} />;
}

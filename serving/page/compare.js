// Compare: two versions on the same seed, or several samples of one version, attempt by attempt.

import { Lanes } from "./lanes.js";
import { Trajectory } from "./trajectory.js";

export function compare(state) {
  const { model, other, seed, samples } = state;
  const lanes = other
    ? [model, other].map((id, index) => new Trajectory({ name: `${"AB"[index]}: ${id}`, model: id, seed }))
    : Array.from({ length: samples }, (_, index) => new Trajectory({ name: `Seed ${seed + index}`, model, seed: seed + index }));
  return new Lanes(state, lanes);
}

// The row above the message box while what is written is to be painted.

import { useWords } from "../i18n";
import { brush, MAX_SEED, SIZES, usePainters } from "../state/paint";
import { useStore } from "../state/store";

export function Brushes({ onModels }: { onModels(): void }) {
  const t = useWords();
  const { isOn, size, seed, heatMaps, model } = useStore(brush);
  const painters = usePainters();
  if (!isOn) return null;
  if (!painters.length) {
    return (
      <p class="brushes problem" role="alert">
        {t.paintNobody}{" "}
        <button type="button" class="link" onClick={onModels}>
          {t.modelMore}
        </button>
      </p>
    );
  }
  return (
    <fieldset class="brushes">
      <legend class="for-screen-readers">{t.paintOptions}</legend>
      {painters.length > 1 ? (
        <label>
          {t.paintModel}
          <select
            value={model ?? ""}
            onChange={(event) => brush.set({ model: event.currentTarget.value || null })}
          >
            <option value="">{t.paintAuto}</option>
            {painters.map((one) => (
              <option key={one.id} value={one.id}>
                {one.id}
              </option>
            ))}
          </select>
        </label>
      ) : null}
      <label>
        {t.paintSize}
        <select value={size} onChange={(event) => brush.set({ size: event.currentTarget.value })}>
          {SIZES.map((one) => (
            <option key={one} value={one}>
              {one === "auto" ? t.paintAuto : one.replace("x", " × ")}
            </option>
          ))}
        </select>
      </label>
      <label>
        {t.paintSeed}
        <input
          type="number"
          min={0}
          max={MAX_SEED}
          step={1}
          inputMode="numeric"
          placeholder={t.paintSeedFresh}
          value={seed ?? ""}
          onInput={(event) => {
            const { value, valueAsNumber, validity } = event.currentTarget;
            if (validity.valid) brush.set({ seed: value === "" ? null : valueAsNumber });
          }}
        />
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={heatMaps}
          onChange={(event) => brush.set({ heatMaps: event.currentTarget.checked })}
        />
        {t.paintHeat}
      </label>
    </fieldset>
  );
}

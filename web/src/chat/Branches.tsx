// `< 2/3 >`: which version of a message is shown.

import { fill, useWords } from "../i18n";
import { Left, Right } from "../ui/icons";

interface Props {
  ids: string[];
  id: string;
  isDisabled: boolean;
  onShow(id: string): void;
}

export function Branches({ ids, id, isDisabled, onShow }: Props) {
  const t = useWords();
  const index = ids.indexOf(id);
  if (ids.length < 2 || index < 0) return null;
  const before = ids[index - 1];
  const after = ids[index + 1];
  return (
    <div class="branches" role="group" aria-label={fill(t.branch, { index: index + 1, count: ids.length })}>
      <button
        type="button"
        class="ghost"
        aria-label={t.branchBefore}
        title={t.branchBefore}
        disabled={isDisabled || before === undefined}
        onClick={() => onShow(before!)}
      >
        <Left />
      </button>
      <span aria-hidden="true">
        {index + 1}/{ids.length}
      </span>
      <button
        type="button"
        class="ghost"
        aria-label={t.branchAfter}
        title={t.branchAfter}
        disabled={isDisabled || after === undefined}
        onClick={() => onShow(after!)}
      >
        <Right />
      </button>
    </div>
  );
}

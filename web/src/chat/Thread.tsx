// The conversation, following the newest words until the reader scrolls away. A long one is drawn from its end;
// what lies further up comes when it is scrolled to.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Attachment, PaintedPicture } from "../api/types";
import { fill, useWords } from "../i18n";
import { again, discard, edit, load, showBranch } from "../state/chat";
import { list } from "../state/list";
import { useSelected, useStore } from "../state/store";
import { branchOf, siblingsById, type Entry, type ThreadStore } from "../state/thread";
import { Down } from "../ui/icons";
import { Message, Pending, type MessageActions } from "./Message";

const NEAR_PX = 80;
const WINDOW = 40; // messages drawn at first, and with each step up

interface Props {
  thread: ThreadStore;
  onView(attachment: Attachment): void;
  onRemix(picture: PaintedPicture): void;
}

export function Thread({ thread, onView, onRemix }: Props) {
  const t = useWords();
  const { messages, leaf, isBusy, load: loading } = useStore(thread);
  const isBusyElsewhere = (useSelected(list, ({ busy }) => busy.has(thread.value.id)) ?? false) && !isBusy;
  const branch = useMemo(() => branchOf(messages, leaf), [messages, leaf]);
  const siblings = useMemo(() => siblingsById(messages), [messages]);
  const [numShown, setNumShown] = useState(WINDOW);
  const scroller = useRef<HTMLDivElement>(null);
  const sentinel = useRef<HTMLButtonElement>(null);
  const follows = useRef(true);
  const lowest = useRef(0); // where the end was since the last scroll, in pixels
  const heightBefore = useRef<number | null>(null);
  const [isAway, setIsAway] = useState(false);
  const numHidden = Math.max(0, branch.length - numShown);
  const last = branch.at(-1);

  const actions = useMemo<MessageActions>(
    () => ({
      again: (id) => void again(thread, id),
      edit: (id, text) => void edit(thread, id, text),
      discard: (id) => discard(thread, id),
      showBranch: (id) => showBranch(thread, id),
      view: onView,
      remix: onRemix,
    }),
    [thread],
  );

  const endOf = (box: HTMLDivElement) => box.scrollHeight - box.clientHeight;
  const onResize = () => {
    const box = scroller.current;
    if (box) lowest.current = Math.min(lowest.current, endOf(box));
    if (follows.current) toEnd();
  };
  const toEnd = () => {
    const box = scroller.current;
    if (box) box.scrollTop = box.scrollHeight;
  };
  const onScroll = () => {
    const box = scroller.current!;
    const isNear = endOf(box) - box.scrollTop < NEAR_PX;
    // Who scrolls up leaves the end. What shrinks and grows scrolls, too, but never above where the end was.
    follows.current = isNear || (follows.current && box.scrollTop >= lowest.current - 1);
    lowest.current = endOf(box);
    setIsAway(!follows.current);
  };
  const showEarlier = () => {
    heightBefore.current = scroller.current!.scrollHeight - scroller.current!.scrollTop;
    setNumShown((now) => now + WINDOW);
  };
  useLayoutEffect(() => {
    if (heightBefore.current === null) return;
    scroller.current!.scrollTop = scroller.current!.scrollHeight - heightBefore.current; // the same words stay in view
    heightBefore.current = null;
  }, [numShown]);
  useLayoutEffect(() => {
    follows.current = true;
    toEnd();
  }, [thread, branch.length === 0, last?.id]);
  useLayoutEffect(() => {
    onResize();
  }, [last]);
  useEffect(() => {
    if (!sentinel.current) return;
    const observer = new IntersectionObserver(
      (seen) => seen.some((one) => one.isIntersecting) && showEarlier(),
      { root: scroller.current, rootMargin: "400px 0px 0px" },
    );
    observer.observe(sentinel.current);
    return () => observer.disconnect();
  }, [numShown, numHidden > 0]);
  useEffect(() => {
    // Pictures and formulas that arrive late make the thread grow, and a message being written takes of its room;
    // the end stays in view.
    const observer = new ResizeObserver(onResize);
    observer.observe(scroller.current!);
    observer.observe(scroller.current!.firstElementChild!);
    return () => observer.disconnect();
  }, []);

  return (
    <>
      <div class="thread" ref={scroller} onScroll={onScroll} tabIndex={0} role="region" aria-label={t.thread}>
        <div class="column">
          {loading === "loading" ? <Skeleton /> : null}
          {numHidden > 0 ? (
            <button ref={sentinel} type="button" class="button earlier" onClick={showEarlier}>
              {fill(t.earlierMessages, { count: numHidden })}
            </button>
          ) : null}
          {branch.slice(numHidden).map((entry) => (
            <Message
              key={entry.id}
              entry={entry}
              siblings={siblings.get(entry.id) ?? []}
              isLast={entry === last}
              isIdle={!isBusy && !isBusyElsewhere}
              actions={actions}
            />
          ))}
          {loading === "failed" || loading === "missing" ? (
            <div class="empty" role="alert">
              <p>{loading === "missing" ? t.conversationGone : t.conversationFailed}</p>
              {loading === "failed" ? (
                <button type="button" class="button" onClick={() => void load(thread)}>
                  {t.retry}
                </button>
              ) : null}
            </div>
          ) : null}
          {isBusyElsewhere && last?.role === "user" ? <Pending /> : null}
        </div>
      </div>
      {isAway ? (
        <button type="button" class="to-latest" aria-label={t.toLatest} title={t.toLatest} onClick={toEnd}>
          <Down />
        </button>
      ) : null}
      <Announcer last={last} isBusy={isBusy} />
    </>
  );
}

function Skeleton() {
  const t = useWords();
  return (
    <div class="skeleton" role="status" aria-label={t.loading}>
      <i />
      <i />
      <i />
    </div>
  );
}

/** Tells a screen reader that an answer is under way, then the whole answer once: not every token. */
function Announcer({ last, isBusy }: { last: Entry | undefined; isBusy: boolean }) {
  const t = useWords();
  const [said, setSaid] = useState("");
  const wasBusy = useRef(false);
  useEffect(() => {
    if (isBusy) setSaid(t.answering);
    else if (wasBusy.current) setSaid(last?.role === "assistant" ? [last.text, ...last.pictures.map((one) => fill(t.paintedPicture, { prompt: one.prompt }))].join(" ") : "");
    wasBusy.current = isBusy;
  }, [isBusy]);
  return (
    <div class="for-screen-readers" aria-live="polite">
      {said}
    </div>
  );
}

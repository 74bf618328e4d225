// The list of conversations; a drawer on a phone.

import type { Ref } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Language } from "../api/types";
import { fill, htmlLang, useWords } from "../i18n";
import { list, loadMore, refreshList, search } from "../state/list";
import { useStore } from "../state/store";
import { Close, Compose, Gear, Mark, Moon, Search, Sun } from "../ui/icons";
import { groupsOf } from "./groups";
import { Row } from "./Row";

interface Props {
  currentId: string | null;
  isOpen: boolean;
  language: Language;
  isDark: boolean;
  searchRef: Ref<HTMLInputElement>;
  onOpen(id: string | null): void;
  onRemoved(id: string): void;
  onClose(): void;
  onSettings(): void;
  onLanguage(): void;
  onTheme(): void;
}

export function Sidebar(props: Props) {
  const t = useWords();
  const { language, isDark, isOpen } = props;
  return (
    <aside class={`sidebar${isOpen ? " is-open" : ""}`} aria-label={t.conversations}>
      <div class="brand">
        <Mark />
        <span>{t.appName}</span>
        <button type="button" class="ghost only-phone" aria-label={t.closeSidebar} onClick={props.onClose}>
          <Close />
        </button>
      </div>
      <button type="button" class="new-chat" onClick={() => props.onOpen(null)}>
        <Compose />
        {t.newChat}
      </button>
      <SearchBox inputRef={props.searchRef} />
      <Conversations {...props} />
      <div class="side-foot">
        <button type="button" class="ghost text" onClick={props.onSettings}>
          <Gear />
          {t.settings}
        </button>
        <button
          type="button"
          class="ghost text language"
          lang={htmlLang(language === "en" ? "zh" : "en")}
          aria-label={t.languageLabel}
          title={t.languageLabel}
          onClick={props.onLanguage}
        >
          {t.language}
        </button>
        <button
          type="button"
          class="ghost"
          aria-label={isDark ? t.toLight : t.toDark}
          title={isDark ? t.toLight : t.toDark}
          onClick={props.onTheme}
        >
          {isDark ? <Sun /> : <Moon />}
        </button>
      </div>
    </aside>
  );
}

function SearchBox({ inputRef }: { inputRef: Ref<HTMLInputElement> }) {
  const t = useWords();
  const { query } = useStore(list);
  return (
    <div class="search" role="search">
      <Search />
      <input
        ref={inputRef}
        type="search"
        aria-label={t.searchLabel}
        placeholder={t.searchLabel}
        title="Ctrl+K"
        maxLength={200}
        value={query}
        onInput={(event) => search(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape" || !query) return;
          event.preventDefault();
          event.stopPropagation();
          search("");
        }}
      />
      {query ? (
        <button type="button" class="ghost" aria-label={t.searchClear} onClick={() => search("")}>
          <Close />
        </button>
      ) : null}
    </div>
  );
}

function Conversations({ currentId, language, onOpen, onRemoved }: Props) {
  const t = useWords();
  const { items, next, load, query, shownQuery, busy } = useStore(list);
  const end = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!end.current) return;
    const observer = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && void loadMore());
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [next, load]);

  const isSearched = shownQuery !== "" && shownQuery === query.trim();
  return (
    <nav class="list" aria-label={t.conversations}>
      <p class="for-screen-readers" role="status">
        {isSearched && load === "ready" ? fill(t.searchCount, { count: items.length }) : ""}
      </p>
      {load === "ready" && !items.length ? (
        <p class="hint">{isSearched ? fill(t.searchNothing, { query: shownQuery }) : t.noConversations}</p>
      ) : null}
      {groupsOf(items, t, language).map((group) => (
        <section key={group.title}>
          <h2>{group.title}</h2>
          <ul>
            {group.items.map((one) => (
              <Row
                key={one.id}
                one={one}
                isCurrent={one.id === currentId}
                isBusy={busy.has(one.id)}
                onOpen={onOpen}
                onRemoved={onRemoved}
              />
            ))}
          </ul>
        </section>
      ))}
      {load === "failed" ? (
        <p class="hint">
          {t.listFailed}{" "}
          <button type="button" class="link" onClick={() => void refreshList()}>
            {t.retry}
          </button>
        </p>
      ) : null}
      {next && load !== "failed" ? (
        <button ref={end} type="button" class="ghost text more-items" onClick={() => void loadMore()}>
          {load === "loading" ? t.loading : t.loadMore}
        </button>
      ) : null}
    </nav>
  );
}

// The page: sidebar, conversation, composer, and what lies over them.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { useChat } from "./chat";
import { Composer, type Draft } from "./Composer";
import { WordsContext } from "./context";
import { fill, words } from "./i18n";
import { Compose, Lock, Menu, Moon, Sun } from "./icons";
import { MAX_IMAGES, PictureError, toDataUrl } from "./images";
import { KeyDialog } from "./KeyDialog";
import { loadKey, loadLanguage, loadTheme, saveKey, saveLanguage, saveTheme, systemTheme, type Theme } from "./prefs";
import { Sidebar } from "./Sidebar";
import { StatusChip, useStatus } from "./StatusChip";
import { Thread } from "./Thread";
import { Welcome } from "./Welcome";

const EMPTY: Draft = { text: "", images: [] };
const isRemote = !/^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);

export function App() {
  const [language, setLanguage] = useState(loadLanguage);
  const [theme, setTheme] = useState<Theme | null>(loadTheme);
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const [problem, setProblem] = useState<string | null>(null);
  const [isDrawerOpen, setIsDrawerOpen] = useState(false);
  const [isDragging, setIsDragging] = useState(false);
  const [keyTries, setKeyTries] = useState(0);
  const [asksKey, setAsksKey] = useState(false);
  const input = useRef<HTMLTextAreaElement>(null);
  const t = words[language];
  const onKeyNeeded = useCallback(() => setAsksKey(true), []);
  const chat = useChat(t.untitled, onKeyNeeded);
  const { connection, status } = useStatus(keyTries);
  const shownTheme = theme ?? systemTheme();
  const isBusy = chat.current !== null && chat.busy.has(chat.current.id);

  useEffect(() => {
    document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
    document.title = chat.current ? `${chat.current.title} – LocalGPT` : "LocalGPT";
  }, [language, chat.current?.title]);
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  }, [theme]);
  useEffect(() => {
    if (connection === "locked") setAsksKey(true);
    if (connection === "ready") setAsksKey(false);
  }, [connection]);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) input.current?.focus(); // on a phone it would raise the keyboard
  }, [chat.current?.id]);

  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.isComposing) return;
      if (isDrawerOpen) setIsDrawerOpen(false);
      else chat.stop();
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  });

  const addFiles = async (files: File[]) => {
    setProblem(null);
    const room = MAX_IMAGES - draft.images.length;
    if (files.length > room) setProblem(fill(t.tooMany, { count: MAX_IMAGES }));
    try {
      const images = await Promise.all(files.slice(0, Math.max(0, room)).map(toDataUrl));
      setDraft((now) => ({ ...now, images: [...now.images, ...images] }));
    } catch (error) {
      if (!(error instanceof PictureError)) throw error;
      setProblem(fill(t[error.reason], { name: error.fileName }));
    }
    input.current?.focus();
  };

  useEffect(() => {
    const holdsFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const onOver = (event: DragEvent) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      setIsDragging(true);
    };
    const onLeave = (event: DragEvent) => event.relatedTarget === null && setIsDragging(false);
    const onDrop = (event: DragEvent) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      setIsDragging(false);
      void addFiles([...event.dataTransfer!.files]);
    };
    addEventListener("dragover", onOver);
    addEventListener("dragleave", onLeave);
    addEventListener("drop", onDrop);
    return () => {
      removeEventListener("dragover", onOver);
      removeEventListener("dragleave", onLeave);
      removeEventListener("drop", onDrop);
    };
  });

  const send = () => {
    const text = draft.text.trim() || (draft.images.length ? t.photoQuestion : "");
    chat.send(text, draft.images);
    setDraft(EMPTY);
    setProblem(null);
  };
  const openChat = (id: string | null) => {
    chat.open(id);
    setIsDrawerOpen(false);
    if (id === null) input.current?.focus();
  };
  const switchLanguage = () => {
    const next = language === "en" ? "zh" : "en";
    saveLanguage(next);
    setLanguage(next);
  };
  const switchTheme = () => {
    const next = shownTheme === "dark" ? "light" : "dark";
    saveTheme(next);
    setTheme(next === systemTheme() ? null : next);
  };
  const useKey = (key: string | null) => {
    saveKey(key);
    setAsksKey(false);
    setKeyTries((tries) => tries + 1);
  };

  const composer = (
    <Composer
      draft={draft}
      isBusy={isBusy}
      problem={problem ?? (chat.lostPictures ? t.storageFull : null)}
      inputRef={input}
      onChange={setDraft}
      onFiles={(files) => void addFiles(files)}
      onSend={send}
      onStop={chat.stop}
    />
  );

  return (
    <WordsContext.Provider value={t}>
      <a class="skip" href="#message">
        {t.skip}
      </a>
      <Sidebar
        conversations={chat.conversations}
        currentId={chat.current?.id ?? null}
        busy={chat.busy}
        isOpen={isDrawerOpen}
        hasKey={loadKey() !== null}
        onOpen={openChat}
        onRemove={chat.remove}
        onClose={() => setIsDrawerOpen(false)}
        onSignOut={() => useKey(null)}
      />
      {isDrawerOpen ? <div class="shade" onClick={() => setIsDrawerOpen(false)} /> : null}
      <main inert={isDrawerOpen}>
        <header>
          <button class="ghost only-phone" aria-label={t.openSidebar} onClick={() => setIsDrawerOpen(true)}>
            <Menu />
          </button>
          <StatusChip connection={connection} status={status} />
          <span class="grow" />
          <button class="ghost text" lang={language === "en" ? "zh-Hans" : "en"} aria-label={t.languageLabel} onClick={switchLanguage}>
            {t.language}
          </button>
          <button
            class="ghost"
            aria-label={shownTheme === "dark" ? t.toLight : t.toDark}
            title={shownTheme === "dark" ? t.toLight : t.toDark}
            onClick={switchTheme}
          >
            {shownTheme === "dark" ? <Sun /> : <Moon />}
          </button>
          <button class="ghost only-phone" aria-label={t.newChat} onClick={() => openChat(null)}>
            <Compose />
          </button>
        </header>
        <div class={`stage${chat.current ? "" : " is-empty"}`}>
          {chat.current ? (
            <Thread
              conversation={chat.current}
              isBusy={isBusy}
              isLoading={connection === "loading"}
              onAgain={chat.again}
            />
          ) : (
            <Welcome
              onTry={(prompt) => chat.send(prompt, [])}
              onPhoto={() => document.querySelector<HTMLInputElement>("input.picker")?.click()}
            />
          )}
        </div>
        <div class="dock">
          {composer}
          <p class="foot">
            <Lock />
            {isRemote ? t.privateRemote : t.private} · {t.canBeWrong}
          </p>
        </div>
      </main>
      {isDragging ? <div class="drop-target">{t.dropHere}</div> : null}
      {chat.removed ? (
        <div class="toast" role="status">
          {t.deleted}
          <button onClick={chat.undo}>{t.undo}</button>
        </div>
      ) : null}
      {asksKey ? <KeyDialog wasWrong={keyTries > 0 && loadKey() !== null} onKey={useKey} /> : null}
    </WordsContext.Provider>
  );
}

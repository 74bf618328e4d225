// The page: sidebar, conversation, composer, and what lies over them.

import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Attachment, PaintedPicture, Settings } from "./api/types";
import { Composer } from "./chat/Composer";
import { MissingModel } from "./chat/MissingModel";
import { Privacy } from "./chat/Privacy";
import { Thread } from "./chat/Thread";
import { Welcome } from "./chat/Welcome";
import { fill, htmlLang, words, WordsContext } from "./i18n";
import { Chip } from "./panel/Chip";
import { Sidebar } from "./sidebar/Sidebar";
import { beginSession } from "./start";
import { current, forget, open, send, stop } from "./state/chat";
import { useChosen } from "./state/choice";
import { clearDraft, composer, openDraft, write } from "./state/composer";
import { cancelDictation } from "./state/dictation";
import { brush, takeWish, wishFor } from "./state/paint";
import { stopReading } from "./state/reading";
import { changeSettings, server, session, settings } from "./state/session";
import { useSelected, useStore } from "./state/store";
import { useDrop } from "./ui/drop";
import { wordsOfError } from "./ui/failures";
import { Compose, Frames, Lock, Menu, Wave } from "./ui/icons";
import { useShortcuts } from "./ui/shortcuts";
import { Lazy } from "./ui/Lazy";
import { say, Toasts } from "./ui/Toast";

const loadSettingsDialog = () => import("./settings/SettingsDialog").then((part) => part.SettingsDialog);
const loadSignIn = () => import("./settings/SignIn").then((part) => part.SignIn);
const loadTour = () => import("./tour/Tour").then((part) => part.Tour);
const loadVoice = () => import("./voice/VoiceDialog").then((part) => part.VoiceDialog);
const loadGallery = () => import("./paint/Gallery").then((part) => part.Gallery);
const loadLightbox = () => import("./chat/Lightbox").then((part) => part.Lightbox);

const darkQuery = matchMedia("(prefers-color-scheme: dark)");

type Over = { kind: "settings"; part: string } | { kind: "tour" } | { kind: "voice" } | { kind: "gallery" } | { kind: "picture"; attachment: Attachment } | null;

export function App() {
  const { language, theme, saved } = useStore(settings);
  const { asksKey, session: here } = useStore(session);
  const { connection } = useStore(server);
  const { thread } = useStore(current);
  const title = useSelected(thread, (one) => one.title) ?? "";
  const isReady = useSelected(thread, (one) => one.load === "ready") ?? true;
  const isBusy = useSelected(thread, (one) => one.isBusy) ?? false;
  const [systemIsDark, setSystemIsDark] = useState(darkQuery.matches);
  const [isDrawerOpen, setIsDrawerOpen] = useState(false);
  const [over, setOver] = useState<Over>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const searchBox = useRef<HTMLInputElement>(null);
  const menuButton = useRef<HTMLButtonElement>(null);
  const wasDrawerOpen = useRef(false);
  const t = words[language];
  const currentId = thread?.value.id ?? null;
  const { name: chosen } = useChosen(thread);
  const isDark = theme === null ? systemIsDark : theme === "dark";

  useLayoutEffect(() => {
    document.documentElement.lang = htmlLang(language);
    document.title = thread ? `${title} – LocalGPT` : "LocalGPT";
  }, [language, thread, title]);
  useLayoutEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  }, [theme]);
  useEffect(() => {
    const update = () => setSystemIsDark(darkQuery.matches);
    darkQuery.addEventListener("change", update);
    return () => darkQuery.removeEventListener("change", update);
  }, []);
  useEffect(() => {
    openDraft(currentId);
    stopReading();
    if (matchMedia("(hover: hover)").matches) input.current?.focus(); // on a phone it would raise the keyboard
  }, [currentId]);
  useLayoutEffect(() => {
    // The focus goes into the drawer with the reader, and back.
    if (isDrawerOpen) document.querySelector<HTMLElement>(".sidebar .brand button")?.focus();
    else if (wasDrawerOpen.current) menuButton.current?.focus();
    wasDrawerOpen.current = isDrawerOpen;
  }, [isDrawerOpen]);
  useEffect(() => {
    if (saved.show_tour && !asksKey) setOver({ kind: "tour" });
  }, [saved.show_tour, asksKey]);

  const showSettings = (part = "general") => setOver({ kind: "settings", part });
  const change = (patch: Partial<Settings>) => {
    changeSettings(patch).catch((error: unknown) => say(fill(t.settingFailed, { why: wordsOfError(error, t) })));
  };
  const openChat = (id: string | null) => {
    open(id);
    closeDrawer();
    if (id === null) input.current?.focus();
  };
  const closeDrawer = () => setIsDrawerOpen(false);
  const onSend = () => {
    const { text, pictures } = composer.value;
    const attachments = pictures.flatMap((picture) => picture.attachment ?? []);
    void send(text.trim() || t.photoQuestion, attachments, t.untitled, takeWish());
    clearDraft();
  };
  const onTry = (prompt: string) => {
    closeTour();
    open(null);
    void send(prompt, [], t.untitled);
  };
  const onPhoto = () => {
    closeTour();
    picker.current?.click();
  };
  const closeTour = () => {
    setOver(null);
    if (saved.show_tour) change({ show_tour: false });
  };
  const showTour = () => setOver({ kind: "tour" });
  const onView = useCallback((attachment: Attachment) => setOver({ kind: "picture", attachment }), []);
  const onRemix = useCallback(
    (picture: PaintedPicture) => {
      setOver(null);
      brush.set({ isOn: true, ...wishFor(picture) });
      const draft = composer.value.text;
      write(picture.prompt);
      if (draft.trim() && draft !== picture.prompt) say(t.draftReplaced, () => write(draft));
      input.current?.focus();
    },
    [t],
  );
  const onPartFailed = () => {
    setOver(null);
    say(t.errorOffline);
  };
  const editLast = () => {
    const buttons = document.querySelectorAll<HTMLButtonElement>(".asked .edit:enabled");
    buttons[buttons.length - 1]?.click();
  };

  const isDragging = useDrop(() => input.current?.focus());
  useShortcuts({
    newChat: () => openChat(null),
    search: () => {
      setIsDrawerOpen(matchMedia("(max-width: 46rem)").matches);
      requestAnimationFrame(() => searchBox.current?.focus());
    },
    settings: () => showSettings(),
    focus: () => input.current?.focus(),
    escape: () => cancelDictation() || stopReading() || (isDrawerOpen ? closeDrawer() : stop()),
    isBlocked: over !== null || asksKey,
  });

  return (
    <WordsContext.Provider value={t}>
      <a class="skip" href="#message">
        {t.skip}
      </a>
      <Sidebar
        currentId={currentId}
        isOpen={isDrawerOpen}
        language={language}
        isDark={isDark}
        searchRef={searchBox}
        onOpen={openChat}
        onRemoved={forget}
        onClose={closeDrawer}
        onSettings={() => {
          showSettings();
          closeDrawer();
        }}
        onLanguage={() => change({ language: language === "en" ? "zh" : "en" })}
        onTheme={() => change({ theme: isDark === systemIsDark ? (isDark ? "light" : "dark") : null })}
      />
      {isDrawerOpen ? <div class="shade" onClick={closeDrawer} /> : null}
      <main inert={isDrawerOpen}>
        <header class="top">
          <button
            ref={menuButton}
            type="button"
            class="ghost only-phone"
            aria-label={t.openSidebar}
            aria-expanded={isDrawerOpen}
            onClick={() => setIsDrawerOpen(true)}
          >
            <Menu />
          </button>
          <Chip language={language} onModels={() => showSettings("models")} />
          {thread ? (
            <h1 class="thread-title" dir="auto">
              {title}
            </h1>
          ) : (
            <span class="grow" />
          )}
          {here?.voice ? (
            <button
              type="button"
              class="ghost"
              aria-label={t.callOpen}
              title={t.callOpen}
              onClick={() => {
                cancelDictation();
                stopReading(); // the microphone and the loudspeaker are the call's
                setOver({ kind: "voice" });
              }}
            >
              <Wave />
            </button>
          ) : null}
          <button
            type="button"
            class="ghost"
            aria-label={t.gallery}
            title={t.gallery}
            onClick={() => setOver({ kind: "gallery" })}
          >
            <Frames />
          </button>
          <button type="button" class="ghost only-phone" aria-label={t.newChat} onClick={() => openChat(null)}>
            <Compose />
          </button>
        </header>
        <div class={`stage${thread ? "" : " is-empty"}`}>
          {thread ? (
            <Thread key={currentId} thread={thread} onView={onView} onRemix={onRemix} />
          ) : (
            <Welcome onTry={onTry} onPhoto={onPhoto} onTour={showTour} onModels={() => showSettings("models")} />
          )}
        </div>
        <div class="dock">
          {connection === "offline" ? (
            <p class="banner" role="alert">
              {t.errorOffline}
            </p>
          ) : null}
          <MissingModel thread={thread} onModels={() => showSettings("models")} />
          <Composer
            isBusy={isBusy}
            isReady={isReady}
            inputRef={input}
            pickerRef={picker}
            onSend={onSend}
            onStop={stop}
            onEditLast={editLast}
            onModels={() => showSettings("models")}
          />
          <p class="foot">
            <Lock />
            <span>
              <Privacy thread={thread} /> · {t.canBeWrong}
            </span>
          </p>
        </div>
      </main>
      {isDragging ? <div class="drop-target">{t.dropHere}</div> : null}
      <Toasts />
      {over?.kind === "settings" ? (
        <Lazy
          load={loadSettingsDialog}
          own={{ language, part: over.part, onClose: () => setOver(null), onTour: showTour }}
          onFailed={onPartFailed}
        />
      ) : null}
      {over?.kind === "tour" ? <Lazy load={loadTour} own={{ onClose: closeTour, onTry, onPhoto }} onFailed={onPartFailed} /> : null}
      {over?.kind === "voice" ? (
        <Lazy load={loadVoice} own={{ model: chosen, onClose: () => setOver(null) }} onFailed={onPartFailed} />
      ) : null}
      {over?.kind === "gallery" ? (
        <Lazy
          load={loadGallery}
          own={{
            onClose: () => setOver(null),
            onOpen: (id: string) => {
              setOver(null);
              openChat(id);
            },
            onView,
            onRemix,
          }}
          onFailed={onPartFailed}
        />
      ) : null}
      {over?.kind === "picture" ? (
        <Lazy
          load={loadLightbox}
          own={{ attachment: over.attachment, onClose: () => setOver(null) }}
          onFailed={onPartFailed}
        />
      ) : null}
      {asksKey ? <Lazy load={loadSignIn} own={{ onSignedIn: () => void beginSession() }} onFailed={onPartFailed} /> : null}
    </WordsContext.Provider>
  );
}

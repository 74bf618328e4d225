// All pictures that were painted, the newest first.

import { useEffect, useState } from "preact/hooks";
import { listPictures } from "../api/calls";
import { ApiError } from "../api/client";
import type { Attachment, GalleryPicture, PaintedPicture } from "../api/types";
import { useWords } from "../i18n";
import { CloseButton, Dialog } from "../ui/Dialog";
import { wordsOfError } from "../ui/failures";
import { Painted } from "./Painted";

interface Props {
  onClose(): void;
  onOpen(conversation: string): void;
  onView(attachment: Attachment): void;
  onRemix(picture: PaintedPicture): void;
}

export function Gallery({ onClose, onOpen, onView, onRemix }: Props) {
  const t = useWords();
  const [pictures, setPictures] = useState<GalleryPicture[]>([]);
  const [next, setNext] = useState<string | null>(null);
  const [state, setState] = useState<"loading" | "ready" | ApiError>("loading");

  const load = async (before: string | null) => {
    setState("loading");
    try {
      const page = await listPictures(before);
      setPictures((known) => (before ? [...known, ...page.data] : page.data));
      setNext(page.next);
      setState("ready");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setState(error);
    }
  };
  useEffect(() => void load(null), []);

  return (
    <Dialog class="gallery" labelledBy="gallery-title" onClose={onClose}>
      <header>
        <h2 id="gallery-title">{t.gallery}</h2>
        <CloseButton onClose={onClose} />
      </header>
      {state === "ready" && !pictures.length ? <p class="hint">{t.galleryEmpty}</p> : null}
      <ul class="paintings">
        {pictures.map((picture) => (
          <li key={`${picture.message_id} ${picture.id}`}>
            <Painted picture={picture} onView={onView} onRemix={onRemix} />
            <button type="button" class="link" onClick={() => onOpen(picture.conversation_id)}>
              {t.toConversation}
            </button>
          </li>
        ))}
      </ul>
      {state === "loading" ? <p role="status">{t.loading}</p> : null}
      {state instanceof ApiError ? (
        <p class="problem" role="alert">
          {wordsOfError(state, t)}
        </p>
      ) : null}
      {state instanceof ApiError || next ? (
        <button type="button" class="button" disabled={state === "loading"} onClick={() => void load(next)}>
          {state instanceof ApiError ? t.retry : t.loadMore}
        </button>
      ) : null}
    </Dialog>
  );
}

// The pictures of a message being written, with how far they have been sent.

import { attachmentPath } from "../api/calls";
import { fill, useWords } from "../i18n";
import { removePicture, retryPicture, type Picture as Draft } from "../state/composer";
import { canDraw } from "../state/pictures";
import { detailOf, wordsOf } from "../ui/failures";
import { Again, Close, Picture } from "../ui/icons";

export function Thumbs({ pictures }: { pictures: Draft[] }) {
  const t = useWords();
  if (!pictures.length) return null;
  const failed = pictures.find((picture) => picture.failure);
  return (
    <>
      <ul class="thumbs">
        {pictures.map((picture) => (
          <Thumb key={picture.key} picture={picture} />
        ))}
      </ul>
      {failed?.failure ? (
        <p class="problem" role="alert">
          {fill(t.uploadFailed, { name: failed.name, why: wordsOf(failed.failure, t) })}
          {detailOf(failed.failure, t) ? <small>{detailOf(failed.failure, t)}</small> : null}
        </p>
      ) : null}
    </>
  );
}

function Thumb({ picture }: { picture: Draft }) {
  const t = useWords();
  const { key, name, attachment, failure } = picture;
  const isSending = !attachment && !failure;
  const source = picture.url ?? (attachment && canDraw(attachment.media_type) ? attachmentPath(attachment) : null);
  const percent = Math.round(100 * picture.sent);
  return (
    <li class={failure ? "is-failed" : ""}>
      {source ? (
        <img src={source} alt={fill(t.pictureNamed, { name })} />
      ) : (
        <span class="no-preview" role="img" aria-label={fill(t.pictureNamed, { name })}>
          <Picture />
          {/\.hei[cf]$/i.test(name) ? "HEIC" : t.noPreview}
        </span>
      )}
      {isSending ? (
        <progress max={100} value={percent} aria-label={fill(t.uploading, { name, percent })} />
      ) : null}
      {failure && failure.kind !== "refused" ? (
        <button type="button" class="again" aria-label={t.retry} title={t.retry} onClick={() => retryPicture(key)}>
          <Again />
        </button>
      ) : null}
      <button
        type="button"
        class="remove"
        aria-label={fill(t.removePicture, { name })}
        title={fill(t.removePicture, { name })}
        onClick={() => removePicture(key)}
      >
        <Close />
      </button>
    </li>
  );
}

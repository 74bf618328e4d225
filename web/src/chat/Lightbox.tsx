// A picture as large as the window allows.

import { attachmentPath } from "../api/calls";
import type { Attachment } from "../api/types";
import { fill, useWords } from "../i18n";
import { CloseButton, Dialog } from "../ui/Dialog";

export function Lightbox({ attachment, onClose }: { attachment: Attachment; onClose(): void }) {
  const t = useWords();
  const name = attachment.name || t.picture;
  return (
    <Dialog class="lightbox" label={fill(t.pictureNamed, { name })} onClose={onClose}>
      <CloseButton onClose={onClose} />
      <img src={attachmentPath(attachment)} alt={fill(t.pictureNamed, { name })} />
      <p>{attachment.name}</p>
    </Dialog>
  );
}

// Pictures dropped anywhere on the page.

import { useEffect, useState } from "preact/hooks";
import { addFiles } from "../state/composer";

const holdsFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;

/** Whether files are being dragged over the page. */
export function useDrop(onDropped: () => void): boolean {
  const [isDragging, setIsDragging] = useState(false);
  useEffect(() => {
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
      onDropped();
    };
    addEventListener("dragover", onOver);
    addEventListener("dragleave", onLeave);
    addEventListener("drop", onDrop);
    return () => {
      removeEventListener("dragover", onOver);
      removeEventListener("dragleave", onLeave);
      removeEventListener("drop", onDrop);
    };
  }, []);
  return isDragging;
}

// Copying, also where the page is opened over plain http from another machine and the clipboard API is withheld.

export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const holder = document.createElement("textarea");
  holder.value = text;
  holder.className = "for-screen-readers";
  document.body.append(holder);
  holder.select();
  document.execCommand("copy");
  holder.remove();
}

// A menu behind a button: arrows move, Escape and a click elsewhere close, the focus returns to the button.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export interface MenuItem {
  label: string;
  icon: ComponentChildren;
  isDanger?: boolean;
  href?: string; // a file to save, instead of an action
  onSelect?(): void;
}

interface Props {
  label: string;
  icon: ComponentChildren;
  class: string;
  items: MenuItem[];
}

const MARGIN_PX = 8;

export function Menu({ label, icon, class: name, items }: Props) {
  const [isOpen, setIsOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  return (
    <>
      <button
        ref={button}
        type="button"
        class={`ghost ${name}`}
        aria-label={label}
        title={label}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        onClick={() => setIsOpen(!isOpen)}
      >
        {icon}
      </button>
      {isOpen ? <MenuList label={label} items={items} opener={button.current!} onClose={() => setIsOpen(false)} /> : null}
    </>
  );
}

interface ListProps {
  label: string;
  items: MenuItem[];
  opener: HTMLButtonElement;
  onClose(): void;
}

function MenuList({ label, items, opener, onClose }: ListProps) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const menu = box.current!;
    menu.showPopover();
    const at = opener.getBoundingClientRect();
    const fitsBelow = at.bottom + menu.offsetHeight + MARGIN_PX < innerHeight;
    menu.style.top = `${fitsBelow ? at.bottom + 4 : Math.max(MARGIN_PX, at.top - menu.offsetHeight - 4)}px`;
    menu.style.left = `${Math.max(MARGIN_PX, Math.min(at.left, innerWidth - menu.offsetWidth - MARGIN_PX))}px`;
    menu.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const onToggle = (event: Event) => (event as ToggleEvent).newState === "closed" && onClose();
    menu.addEventListener("toggle", onToggle);
    return () => menu.removeEventListener("toggle", onToggle);
  }, []);

  const close = () => {
    onClose();
    opener.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const all = [...box.current!.querySelectorAll<HTMLElement>("[role=menuitem]")];
    const at = all.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) all.at(to % all.length)?.focus();
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div ref={box} class="menu" role="menu" aria-label={label} popover="auto" onKeyDown={onKeyDown}>
      {items.map((item) =>
        item.href ? (
          <a key={item.label} role="menuitem" tabIndex={-1} href={item.href} download onClick={close}>
            {item.icon}
            {item.label}
          </a>
        ) : (
          <button
            key={item.label}
            type="button"
            role="menuitem"
            tabIndex={-1}
            class={item.isDanger ? "is-danger" : ""}
            onClick={() => {
              close();
              item.onSelect?.();
            }}
          >
            {item.icon}
            {item.label}
          </button>
        ),
      )}
    </div>
  );
}

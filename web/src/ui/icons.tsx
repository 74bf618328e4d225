// Line icons on a 20 px grid, drawn for this page.

import type { ComponentChildren } from "preact";

const icon = (children: ComponentChildren) => () => (
  <svg
    class="icon"
    viewBox="0 0 20 20"
    fill="none"
    stroke="currentColor"
    stroke-width="1.6"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
  >
    {children}
  </svg>
);

export const Compose = icon(<path d="M16.5 10.5V15a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 15V5A1.5 1.5 0 0 1 5 3.5h4.5M15 3l2 2-6.5 6.5-2.6.6.6-2.6z" />);
export const Menu = icon(<path d="M3.5 6h13M3.5 10h13M3.5 14h8" />);
export const Close = icon(<path d="M5 5l10 10M15 5L5 15" />);
export const Wave = icon(<path d="M4 8.5v3M7 6v8M10 3.5v13M13 6v8M16 8.5v3" />);
export const Trash = icon(<path d="M4 6h12M8 6V4h4v2M5.5 6l.7 10h7.6l.7-10M8.5 9v4.5M11.5 9v4.5" />);
export const Arrow = icon(<path d="M10 16V4.5M5 9l5-5 5 5" />);
export const Down = icon(<path d="M10 4v11.5M5 11l5 5 5-5" />);
export const Copy = icon(<path d="M7.5 7.5h8v9h-8zM12.5 7.5v-4h-8v9h3" />);
export const Check = icon(<path d="M4.5 10.5l3.7 3.7 7.3-8" />);
export const Again = icon(<path d="M15.8 8A6.2 6.2 0 1 0 16.2 11.5M16.2 4.2V8h-3.8" />);
export const Picture = icon(<path d="M3.5 4.5h13v11h-13zM3.5 13l3.8-3.8 3.4 3.4 2-2 3.8 3.6M12.8 7.7h.01" />);
export const Brush = icon(<path d="M16.5 3.5l-7 7M7.5 10.5l2 2c-.3 2.2-2.2 4-5.5 4 1-1 1-2.2 1.2-3.4.2-1.4 1.1-2.4 2.3-2.6z" />);
export const Frames = icon(<path d="M3.5 6.5h10v10h-10zM6.5 6.5v-3h10v10h-3M3.5 13.5l2.5-2.5 2.5 2.5 1.5-1.5 3.5 3.5" />);
export const Sun = icon(<path d="M10 6.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4zM10 2.5v1.4M10 16.1v1.4M2.5 10h1.4M16.1 10h1.4M4.7 4.7l1 1M14.3 14.3l1 1M4.7 15.3l1-1M14.3 5.7l1-1" />);
export const Moon = icon(<path d="M16.3 11.8A6.7 6.7 0 0 1 8.2 3.7a6.7 6.7 0 1 0 8.1 8.1z" />);
export const Lock = icon(<path d="M5 9h10v7.5H5zM7 9V6.5a3 3 0 0 1 6 0V9" />);
export const Globe = icon(<path d="M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM3 10h14M10 3c-4 4-4 10 0 14 4-4 4-10 0-14z" />);
export const Sigma = icon(<path d="M15 6V4H5.5l5 6-5 6H15v-2" />);
export const Leaf = icon(<path d="M4 16c1-3 3.5-6 7-7.5M5.5 13.5C4 8 8 3.5 16 4c.3 8-4 11.8-9.5 10.3" />);
export const Alert = icon(<path d="M10 3.2l7.3 13H2.7zM10 8.2v3.6M10 14h.01" />);
export const Info = icon(<path d="M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 9.3v4M10 6.7h.01" />);

export const Search = icon(<path d="M9 3.8a5.2 5.2 0 1 0 0 10.4 5.2 5.2 0 0 0 0-10.4zM12.8 12.8l3.7 3.7" />);
export const Gear = icon(<path d="M3.5 6h6.3M13.7 6h2.8M3.5 14h2.8M10.2 14h6.3M11.75 4.1a1.9 1.9 0 1 0 0 3.8 1.9 1.9 0 0 0 0-3.8zM8.25 12.1a1.9 1.9 0 1 0 0 3.8 1.9 1.9 0 0 0 0-3.8z" />);
export const Dots = icon(<path d="M5 10h.01M10 10h.01M15 10h.01" stroke-width="2.4" />);
export const Pencil = icon(<path d="M4 16l.8-3.6L13 4.2l2.8 2.8-8.2 8.2zM11.3 5.9l2.8 2.8" />);
export const Download = icon(<path d="M10 3.5v9M6.3 9l3.7 3.7L13.7 9M4 16.5h12" />);
export const Left = icon(<path d="M12 5l-5 5 5 5" />);
export const Right = icon(<path d="M8 5l5 5-5 5" />);
export const Key = icon(<path d="M7 9.2a3.4 3.4 0 1 0 0 6.8 3.4 3.4 0 0 0 0-6.8zM9.5 10.3l6.5-6.5M13.2 6.6l2.3 2.3" />);
export const Help = icon(<path d="M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM8 8.2a2 2 0 1 1 2.9 1.8c-.6.3-.9.7-.9 1.3M10 13.7h.01" />);
export const Database = icon(<path d="M10 3.5c3.3 0 6 1 6 2.25S13.3 8 10 8 4 7 4 5.75 6.7 3.5 10 3.5zM4 5.75v8.5c0 1.25 2.7 2.25 6 2.25s6-1 6-2.25v-8.5M4 10c0 1.25 2.7 2.25 6 2.25S16 11.25 16 10" />);
export const Chat = icon(<path d="M4.5 4.5h11v8h-6l-3.5 3v-3h-1.5z" />);
export const Cube = icon(<path d="M10 3l6.2 3.5v7L10 17l-6.2-3.5v-7zM3.8 6.5L10 10l6.2-3.5M10 10v7" />);
export const Person = icon(<path d="M10 3.5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM4.5 16.5c.4-3 2.6-4.5 5.5-4.5s5.1 1.5 5.5 4.5" />);
export const Microphone = icon(<path d="M10 3a2.2 2.2 0 0 0-2.2 2.2v4.3a2.2 2.2 0 0 0 4.4 0V5.2A2.2 2.2 0 0 0 10 3zM5 9.5a5 5 0 0 0 10 0M10 14.5V17M7.5 17h5" />);
export const Speaker = icon(<path d="M3.5 8v4h2.8L10 15.2V4.8L6.3 8zM12.7 7.6a3.4 3.4 0 0 1 0 4.8M15 5.4a6.5 6.5 0 0 1 0 9.2" />);
export const Cross = icon(<path d="M6 6l8 8M14 6l-8 8" />);

export const Stop = () => (
  <svg class="icon" viewBox="0 0 20 20" fill="currentColor" aria-hidden="true">
    <rect x="5.5" y="5.5" width="9" height="9" rx="2" />
  </svg>
);

export const Mark = () => (
  <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
    <path
      class="mark-bubble"
      d="M10 3h12a8 8 0 0 1 8 8v7a8 8 0 0 1-8 8h-7.2l-5.5 4.3A1 1 0 0 1 7.7 29.5V25.7A8 8 0 0 1 2 18v-7a8 8 0 0 1 8-8z"
    />
    <path class="mark-hole" d="M16 8.5a3.9 3.9 0 0 0-1.9 7.3L13.2 20.5h5.6l-.9-4.7A3.9 3.9 0 0 0 16 8.5z" />
  </svg>
);

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

export const Plus = icon(<path d="M10 4v12M4 10h12" />);
export const Compose = icon(<path d="M16.5 10.500V15a1.500 1.500 0 0 1-1.500 1.500H5A1.500 1.500 0 0 1 3.500 15V5A1.500 1.500 0 0 1 5 3.500h4.500M15 3l2 2-6.500 6.500-2.600.6.6-2.600z" />);
export const Menu = icon(<path d="M3.500 6h13M3.500 10h13M3.500 14h8" />);
export const Close = icon(<path d="M5 5l10 10M15 5L5 15" />);
export const Trash = icon(<path d="M4 6h12M8 6V4h4v2M5.500 6l.7 10h7.600l.7-10M8.500 9v4.500M11.500 9v4.500" />);
export const Arrow = icon(<path d="M10 16V4.500M5 9l5-5 5 5" />);
export const Down = icon(<path d="M10 4v11.500M5 11l5 5 5-5" />);
export const Copy = icon(<path d="M7.500 7.500h8v9h-8zM12.500 7.500v-4h-8v9h3" />);
export const Check = icon(<path d="M4.500 10.500l3.700 3.700 7.300-8" />);
export const Again = icon(<path d="M15.800 8A6.200 6.200 0 1 0 16.200 11.500M16.200 4.200V8h-3.800" />);
export const Picture = icon(<path d="M3.500 4.500h13v11h-13zM3.500 13l3.800-3.800 3.400 3.400 2-2 3.800 3.600M12.800 7.700h.01" />);
export const Sun = icon(<path d="M10 6.800a3.200 3.200 0 1 0 0 6.400 3.200 3.200 0 0 0 0-6.400zM10 2.500v1.400M10 16.100v1.400M2.500 10h1.400M16.100 10h1.400M4.700 4.700l1 1M14.300 14.300l1 1M4.700 15.300l1-1M14.300 5.700l1-1" />);
export const Moon = icon(<path d="M16.300 11.800A6.700 6.700 0 0 1 8.200 3.700a6.700 6.700 0 1 0 8.100 8.100z" />);
export const Lock = icon(<path d="M5 9h10v7.500H5zM7 9V6.500a3 3 0 0 1 6 0V9" />);
export const Globe = icon(<path d="M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM3 10h14M10 3c-4 4-4 10 0 14 4-4 4-10 0-14z" />);
export const Sigma = icon(<path d="M15 6V4H5.500l5 6-5 6H15v-2" />);
export const Leaf = icon(<path d="M4 16c1-3 3.500-6 7-7.500M5.500 13.500C4 8 8 3.500 16 4c.3 8-4 11.800-9.500 10.300" />);
export const Alert = icon(<path d="M10 3.200l7.300 13H2.700zM10 8.200v3.600M10 14h.01" />);
export const Info = icon(<path d="M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 9.300v4M10 6.700h.01" />);

export const Stop = () => (
  <svg class="icon" viewBox="0 0 20 20" fill="currentColor" aria-hidden="true">
    <rect x="5.500" y="5.500" width="9" height="9" rx="2" />
  </svg>
);

export const Mark = () => (
  <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
    <path
      class="mark-bubble"
      d="M10 3h12a8 8 0 0 1 8 8v7a8 8 0 0 1-8 8h-7.200l-5.500 4.300A1 1 0 0 1 7.700 29.500V25.700A8 8 0 0 1 2 18v-7a8 8 0 0 1 8-8z"
    />
    <path class="mark-hole" d="M16 8.500a3.900 3.900 0 0 0-1.900 7.300L13.200 20.500h5.600l-.9-4.700A3.900 3.900 0 0 0 16 8.500z" />
  </svg>
);

import { defineConfig } from "vite";

const server = "http://127.0.0.1:8000";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/localgpt/server/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the page's policy allows scripts and styles from files alone
    modulePreload: { polyfill: false },
  },
  server: {
    // `npm run dev` beside a running `localgpt serve`; its origin check wants its own address.
    proxy: { "/v1": { target: server, changeOrigin: true, headers: { origin: server } } },
  },
});

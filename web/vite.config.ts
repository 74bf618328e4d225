import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const server = "http://127.0.0.1:8000";
const SHIPPED = ["preact", "marked", "dompurify", "highlight.js", "temml"];

/** The licences of what is bundled, as their authors ask: one text file beside the page. */
function licences(): Plugin {
  return {
    name: "licences",
    generateBundle() {
      const texts = SHIPPED.map((name) => {
        const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
        return `${name} ${version} (${license})\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`;
      });
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) });
    },
  };
}

export default defineConfig({
  plugins: [licences()],
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
    proxy: Object.fromEntries(
      ["/api", "/v1"].map((path) => [path, { target: server, changeOrigin: true, headers: { origin: server } }]),
    ),
  },
});

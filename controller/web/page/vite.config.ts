import { defineConfig, type Plugin } from 'vite';

/**
 * Puts script and style into the page itself, and names it page.html: a report is one file
 * that asks nobody for anything. The order of what is written, the names and the text come
 * from the sources alone, so that every machine builds the same bytes.
 */
function oneFile(): Plugin {
  return {
    name: 'one-file',
    enforce: 'post',
    generateBundle: {
      order: 'post',
      handler(_, bundle) {
        const page = bundle['index.html'];
        if (page?.type !== 'asset') {
          throw new Error('one-file: the build made no index.html');
        }
        let html = String(page.source);
        for (const [name, part] of Object.entries(bundle)) {
          if (part === page) {
            continue;
          }
          if (part.type === 'chunk') {
            html = replace(html, new RegExp(`\\s*<script[^>]*src="[^"]*${literal(name)}"[^>]*></script>`), '');
            // A module runs when all of the page is parsed, the data behind it included.
            html = replace(html, '</body>', `<script type="module">${inScript(part.code.trim())}</script>\n</body>`);
          } else {
            html = replace(html, new RegExp(`<link[^>]*href="[^"]*${literal(name)}"[^>]*>`), `<style>${inStyle(String(part.source).trim())}</style>`);
          }
          delete bundle[name];
        }
        delete bundle['index.html'];
        this.emitFile({ type: 'asset', fileName: 'page.html', source: html });
      },
    },
  };
}

/** Replaces the one place where what stands; another number of places is an error. */
function replace(text: string, what: string | RegExp, by: string): string {
  const parts = text.split(what);
  if (parts.length !== 2) {
    throw new Error(`one-file: ${what} stands ${parts.length - 1} times in the page`);
  }
  return parts[0] + by + parts[1];
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** A script's text may not end its element, nor begin a comment. */
function inScript(code: string): string {
  return code.replace(/<\/(script)/gi, '<\\/$1').replace(/<!--/g, '\\x3C!--');
}

function inStyle(css: string): string {
  if (/<\/style/i.test(css)) {
    throw new Error('one-file: a style has </style in it');
  }
  return css;
}

export default defineConfig({
  base: './',
  plugins: [oneFile()],
  build: {
    target: 'es2022',
    outDir: '..',
    emptyOutDir: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
    rollupOptions: { output: { entryFileNames: 'page.js', assetFileNames: 'page[extname]', codeSplitting: false } },
  },
});

// Bundles src/ into dist/: fingerprinted names, compressed beside each file, and
// a manifest that the Go side reads. Run by `npm run build`.
import { build } from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const out = "dist";
await mkdir(out, { recursive: true });
for (const name of await readdir(out)) {
  if (name !== ".gitkeep") await rm(`${out}/${name}`, { recursive: true });
}
const { metafile } = await build({
  entryPoints: ["src/app.ts"],
  outdir: out,
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2020",
  minify: true,
  legalComments: "eof",
  metafile: true,
  logLevel: "warning",
});
const manifest = { script: "", style: "", files: [] };
for (const [path, info] of Object.entries(metafile.outputs).sort()) {
  const name = path.slice(out.length + 1);
  manifest.files.push(name);
  if (info.entryPoint === "src/app.ts") manifest.script = name;
  if (name.endsWith(".css")) manifest.style = name;
  const body = await readFile(path);
  await writeFile(`${path}.gz`, gzipSync(body, { level: 9 }));
  await writeFile(`${path}.br`, brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: body.length } }));
}
await writeFile(`${out}/manifest.json`, `${JSON.stringify(manifest, null, 1)}\n`);

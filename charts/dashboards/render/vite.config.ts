import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // Some libraries of Grafana's components ask for the mode of a Node program.
  define: { "process.env.NODE_ENV": '"production"', "process.env": "{}" },
  build: { chunkSizeWarningLimit: 10_000, reportCompressedSize: false, sourcemap: false },
  logLevel: "warn",
});

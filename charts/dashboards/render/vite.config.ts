import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // Some libraries of Grafana's components ask for the mode of a Node program.
  define: { "process.env.NODE_ENV": '"production"', "process.env": "{}" },
  build: {
    chunkSizeWarningLimit: 10_000,
    reportCompressedSize: false,
    sourcemap: false,
    // Comments of libraries that only another bundler reads.
    rollupOptions: { onwarn: (warning, warn) => void (warning.code === "INVALID_ANNOTATION" || warn(warning)) },
  },
  logLevel: "warn",
});

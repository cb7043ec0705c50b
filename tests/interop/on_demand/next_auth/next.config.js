module.exports = {
  outputFileTracingRoot: __dirname,
  experimental: { externalDir: true },
  distDir: process.env.NEXT_DIST_DIR,
  async rewrites() {
    return [{ source: "/refresh", destination: "/api/refresh" }];
  },
};

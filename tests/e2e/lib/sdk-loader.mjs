// The published package has a module in a .js file without saying that it is one; older versions of Node
// take it for CommonJS and fail.

export async function load(url, context, nextLoad) {
  const isModule = url.includes('/@synckit-js/sdk/wasm/');
  return nextLoad(url, isModule ? { ...context, format: 'module' } : context);
}

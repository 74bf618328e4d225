declare module "*.css";

/** A file of its own, compiled: what runs beside the page is loaded by address. */
declare module "*?worker&url" {
  const url: string;
  export default url;
}

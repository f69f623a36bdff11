// Options of the Svelte compiler: runes everywhere.
export default { compilerOptions: { runes: true } };

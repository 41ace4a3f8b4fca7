/** Claude Agent SDK code with its sessions in Hostel. */
export { HostelError, type ServerOptions } from './http.js';
export { HostelSessionStore } from './store.js';

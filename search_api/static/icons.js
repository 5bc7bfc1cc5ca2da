// Icons, drawn here: 24 units square, one line width. They only decorate; the words beside or the label say what.
import { html } from "./html.js";

const PATHS = {
  search: "M10.5 17a6.5 6.5 0 1 1 0-13 6.5 6.5 0 0 1 0 13zM15.5 15.5 20 20",
  picture: "M4 6.5A2.5 2.5 0 0 1 6.5 4h11A2.5 2.5 0 0 1 20 6.5v11a2.5 2.5 0 0 1-2.5 2.5h-11A2.5 2.5 0 0 1 4 17.5zM4.5 17l4.5-5 3.5 3.5 2.5-2.5 4.5 4.5M15 8.6v.1",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  plus: "M12 5.5v13M5.5 12h13",
  like: "M12 19.5s-7-4.4-7-9.6A3.9 3.9 0 0 1 12 7.4a3.9 3.9 0 0 1 7 2.5c0 5.2-7 9.6-7 9.6z",
  dislike: "M12 19.5s-7-4.4-7-9.6A3.9 3.9 0 0 1 12 7.4a3.9 3.9 0 0 1 7 2.5c0 5.2-7 9.6-7 9.6zM5 4l14 16",
  similar: "M4.5 9V7A2.5 2.5 0 0 1 7 4.5h2M15 4.500h2A2.5 2.5 0 0 1 19.5 7v2M4.5 15v2A2.5 2.5 0 0 0 7 19.500h2M12 15.500a3.5 3.5 0 1 1 0-7 3.5 3.5 0 0 1 0 7zM14.6 14.6l4.9 4.9",
  copy: "M8.5 8.500h9a1.5 1.5 0 0 1 1.5 1.500v8a1.5 1.5 0 0 1-1.5 1.500h-9A1.5 1.5 0 0 1 7 18v-8a1.5 1.5 0 0 1 1.5-1.500zM5 15V6a1.5 1.5 0 0 1 1.5-1.500H14",
  filter: "M4.5 7h15M7.5 12h9M10.5 17h3",
  download: "M12 4.500v10M7.5 10.5 12 15l4.5-4.500M5 19.500h14",
  left: "M14.5 5.5 8 12l6.5 6.5",
  right: "M9.5 5.5 16 12l-6.5 6.5",
  help: "M9.2 9.300a2.9 2.9 0 1 1 4.3 2.500c-1 .6-1.5 1.1-1.5 2.200M12 17.300v.1",
  fold: "M4.5 9h11v10h-11zM8.5 9V5h11v10h-4",
  gauge: "M4.5 17.500a8.5 8.5 0 1 1 15 0M12 14l3.5-5",
  pairs: "M4 6h7v12H4zM13 6h7v12h-7z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 4.5 20.5 19h-17zM12 10v4M12 16.500v.1",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;

// A button that shows an icon and says its label to those who cannot see it.
export const IconButton = ({ icon, label, ...rest }) => html`
  <button type="button" class="icon-button" aria-label=${label} title=${label} ...${rest}><${Icon} name=${icon} /></button>`;

// A component that is drawn again only when one of its attributes is another.
import { Component } from "preact";
import { html } from "./html.js";

export function memo(draw) {
  return class extends Component {
    shouldComponentUpdate(next) {
      const names = new Set([...Object.keys(next), ...Object.keys(this.props)]);
      return [...names].some((name) => next[name] !== this.props[name] && !sameBox(next[name], this.props[name]));
    }

    render(props) { return html`<${draw} ...${props} />`; }
  };
}

const sameBox = (a, b) => a && b && typeof a === "object" && a.top !== undefined && a.top === b.top && a.left === b.left
  && a.width === b.width && a.height === b.height;

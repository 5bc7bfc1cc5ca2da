// Markup in template strings. Values are always put in as text: a file's name can never become an element.
import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);

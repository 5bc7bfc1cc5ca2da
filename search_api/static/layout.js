// A justified grid: rows of one height each, as wide as the page, every picture in its own shape.
const NARROWEST = 0.5, WIDEST = 3; // beyond, a picture is cropped: one panorama should not fill a row

export const shapeOf = ({ width, height }) => Math.min(WIDEST, Math.max(NARROWEST, width / height || 1));

// Places of pictures with these shapes (width / height) -> {boxes: [{left, top, width, height}], height}.
export function justify(shapes, { width, rowHeight, gap, caption }) {
  const boxes = [];
  let top = 0;
  for (let start = 0; start < shapes.length;) {
    let end = start, sum = 0;
    while (end < shapes.length && (sum + shapes[end] / 2) * rowHeight + gap * (end - start) < width) sum += shapes[end++];
    if (end === start) sum += shapes[end++];
    const full = (width - gap * (end - start - 1)) / sum;
    const height = end === shapes.length ? Math.min(full, rowHeight) : full; // the last row is left as it falls
    let left = 0;
    for (; start < end; start++) {
      boxes.push({ left, top, width: shapes[start] * height, height });
      left += shapes[start] * height + gap;
    }
    top += height + caption + gap;
  }
  return { boxes, height: Math.max(0, top - gap) };
}

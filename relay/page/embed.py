#!/usr/bin/env python3
"""Makes the player page into something that the binary can hold.

    embed.py OUT_DIR VERSION INDEX_HTML PLAYER_CSS HLS_JS PROGRAM_JS…

The page is one document, with its style and program inlined, so that a viewer needs two round trips less before the first
frame; hls.js stays a file of its own, named by its content, which browsers may keep for a year. Written to OUT_DIR:

    index.html, hls.js and the same with .gz     what is served
    page_assets.S                                the four as static blobs (common/base/blob.h)
    page_assets.c                                the table of relay/page.h

What is served depends on the input alone, so ETags are the same wherever it is built.
"""
import base64
import gzip
import hashlib
import json
import re
import sys
from pathlib import Path


def digest(data):
    return hashlib.sha256(data).hexdigest()


def source_hash(text):
    """A source expression of Content-Security-Policy for an inline element with that text."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def inline(page, name, text):
    if re.search(r'</(script|style)', text, re.I):
        sys.exit(f'embed.py: {name} would end its own element')
    mark = '{{' + name + '}}'
    if page.count(mark) != 1:
        sys.exit(f'embed.py: index.html must have {mark} once')
    return page.replace(mark, text)


def policy(style, script):
    """No inline code but ours, no other hosts. Media come from blob: URLs (MediaSource) or, played natively, from here."""
    return '; '.join([
        "default-src 'none'", f"script-src 'self' {source_hash(script)}", f"style-src {source_hash(style)}",
        "media-src 'self' blob:", 'img-src data:', "base-uri 'none'", "form-action 'none'", "connect-src 'self'"])


class Asset:
    def __init__(self, name, file, content_type, data, csp, immutable):
        self.name, self.file, self.content_type, self.csp, self.immutable = name, file, content_type, csp, immutable
        self.etag = digest(data)[:16]
        # A strong tag names one sequence of bytes, so each coding has its own.
        self.bodies = [(file, data, self.etag),
                       (file + '.gz', gzip.compress(data, 9, mtime=0), self.etag + '-gz')]


def symbol(file):
    return 'page_' + re.sub(r'\W', '_', file)


def assembly(assets, out):
    """Static blobs: the header that blob.c would have written, with one reference that is never dropped."""
    lines = ['/* Made by relay/page/embed.py. */']
    for asset in assets:
        for file, data, _ in asset.bodies:
            name = symbol(file)
            lines += [f'    .section .data.{name},"aw",%progbits', '    .balign 16', f'    .globl {name}',
                      f'    .type {name}, %object', f'{name}:', '    .long 1, 0', f'    .quad {len(data)}',
                      f'    .incbin "{out / file}"', f'    .size {name}, . - {name}']
    return '\n'.join(lines + ['    .section .note.GNU-stack,"",%progbits', ''])


def c_string(text):
    return json.dumps(text) if text is not None else 'NULL'


def table(assets):
    names = [symbol(file) for asset in assets for file, _, _ in asset.bodies]
    lines = ['/* Made by relay/page/embed.py. */', '#include "relay/page.h"', '',
             'extern struct blob ' + ', '.join(names) + ';', '', 'const struct page_asset page_assets[] = {']
    for asset in assets:
        bodies = ['{.slice = {&%s, 0, %d}, .etag = %s}' % (symbol(file), len(data), c_string(f'"{etag}"'))
                  for file, data, etag in asset.bodies]
        lines += [f'    {{.name = {c_string(asset.name)},',
                  f'     .content_type = {c_string(asset.content_type)},',
                  f'     .policy = {c_string(asset.csp)},',
                  f'     .immutable = {"true" if asset.immutable else "false"},',
                  f'     .identity = {bodies[0]},',
                  f'     .gzip = {bodies[1]}}},']
    return '\n'.join(lines + ['};', 'const size_t page_asset_count = sizeof page_assets / sizeof page_assets[0];', ''])


def hls_script(data, version):
    """With the notice that its licence asks for; without its map, which isn't served."""
    notice = (f'/* hls.js {version}, Copyright (c) 2017 Dailymotion, Apache License 2.0, '
              'https://github.com/video-dev/hls.js */\n')
    return notice.encode() + re.sub(rb'\n//# sourceMappingURL=\S+\s*$', b'\n', data)


def main():
    out, version = Path(sys.argv[1]).resolve(), sys.argv[2]
    html, style, *program = (Path(path).read_text(encoding='utf-8') for path in [*sys.argv[3:5], *sys.argv[6:]])
    script = ''.join(program)
    hls_version = json.loads((Path(sys.argv[5]).parents[1] / 'package.json').read_text())['version']
    hls = hls_script(Path(sys.argv[5]).read_bytes(), hls_version)
    hls_name = f'hls-{hls_version}-{digest(hls)[:8]}.js'

    page = html.replace('{{version}}', version).replace('{{hls}}', hls_name)
    page = inline(inline(page, 'style', style), 'script', script)
    assets = [
        Asset('index.html', 'index.html', 'text/html; charset=utf-8', page.encode(), policy(style, script), False),
        Asset(hls_name, 'hls.js', 'text/javascript; charset=utf-8', hls, None, True),
    ]
    for asset in assets:
        for file, data, _ in asset.bodies:
            (out / file).write_bytes(data)
    (out / 'page_assets.S').write_text(assembly(assets, out))
    (out / 'page_assets.c').write_text(table(assets))


main()

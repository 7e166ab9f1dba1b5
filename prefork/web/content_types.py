"""The content type a file's name tells: the same on every machine, whatever its mime.types says."""

from mimetypes import MimeTypes
from typing import Final

from prefork.web.response import with_charset

UNKNOWN: Final = "application/octet-stream"

# What browsers insist on, and what Python learned late or maps otherwise (RFC 9239 for scripts).
_WEB: Final = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".cjs": "text/javascript",
    ".css": "text/css",
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".gltf": "model/gltf+json",
    ".glb": "model/gltf-binary",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/vnd.microsoft.icon",
    ".ics": "text/calendar",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".rtf": "application/rtf",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".vtt": "text/vtt",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xml": "text/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}
_PACKED: Final = ("image/", "audio/", "video/", "font/woff", "application/zip", "application/gzip", "application/pdf")
_UNPACKED_IMAGES: Final = ("image/svg+xml", "image/bmp", "image/vnd.microsoft.icon")

_python: Final = MimeTypes()  # Python's own table only: files of the system are read when they are given


def guess_type(name: str) -> str:
    """The content type; of a compressed file that of the compression, so that it stays so. Text is taken for UTF-8."""
    dot = name.rfind(".")
    known = _WEB.get(name[dot:].lower()) if dot >= 0 else None
    if known is not None:
        return with_charset(known)
    kind, compression = _python.guess_type("/" + name.rpartition("/")[2])  # never taken for a URL
    if compression is not None:
        return "application/gzip" if compression == "gzip" else UNKNOWN
    return with_charset(kind or UNKNOWN)


def may_shrink(content_type: str) -> bool:
    """Whether compressing such content again is worth it: not pictures, sound, films and archives."""
    return not content_type.startswith(_PACKED) or content_type.startswith(_UNPACKED_IMAGES)

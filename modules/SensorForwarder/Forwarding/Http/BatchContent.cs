using System.Net;
using System.Net.Http.Headers;

namespace SensorForwarder.Forwarding.Http;

/// <summary>A request body that reports each piece it writes, so that timeouts distinguish a slow connection from a
/// dead one.</summary>
internal sealed class BatchContent : HttpContent
{
    const int PieceBytes = 16_384;

    readonly ReadOnlyMemory<byte> _body;
    readonly Action _onPiece;
    readonly Action _onSent;

    public BatchContent(ReadOnlyMemory<byte> body, bool isGzip, Action onPiece, Action onSent)
    {
        (_body, _onPiece, _onSent) = (body, onPiece, onSent);
        Headers.ContentType = new MediaTypeHeaderValue("application/json", "utf-8");
        if (isGzip) Headers.ContentEncoding.Add("gzip");
    }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(
        Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        for (var at = 0; at < _body.Length; at += PieceBytes)
        {
            _onPiece();
            await stream.WriteAsync(_body.Slice(at, Math.Min(PieceBytes, _body.Length - at)), cancellationToken);
        }

        _onSent();
    }

    protected override bool TryComputeLength(out long length)
    {
        length = _body.Length;
        return true;
    }
}

using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Text;

namespace EdgeSimulator.Hub;

/// <summary>The server side of the WebSocket opening handshake (RFC 6455, section 4.2) for edgeHub's MQTT on port
/// 443.</summary>
internal static class WebSocketHandshake
{
    const string Path = "/$iothub/websocket";
    const string Protocol = "mqtt";
    const int RequestMaxBytes = 16_384;

    // Defined in RFC 6455, section 1.3.
    const string KeySuffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

    /// <summary>Reads the request from <paramref name="stream"/> and responds. Returns a stream of the WebSocket's
    /// content, or null and the reason if the request was refused.</summary>
    public static async Task<(Stream? Content, string Refusal)> OpenAsync(Stream stream, CancellationToken cancellationToken)
    {
        var (key, refusal) = Examine(await ReadRequestAsync(stream, cancellationToken).ConfigureAwait(false));
        var answer = key is null
            ? $"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {refusal.Length}\r\n\r\n{refusal}"
            : $"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
                $"Sec-WebSocket-Protocol: {Protocol}\r\nSec-WebSocket-Accept: {Accept(key)}\r\n\r\n";
        await stream.WriteAsync(Encoding.ASCII.GetBytes(answer), cancellationToken).ConfigureAwait(false);
        if (key is null)
        {
            return (null, refusal);
        }

        var webSocket = WebSocket.CreateFromStream(stream, new WebSocketCreationOptions { IsServer = true, SubProtocol = Protocol });
        return (WebSocketStream.Create(webSocket, WebSocketMessageType.Binary, ownsWebSocket: true), "");
    }

    /// <summary>Reads request line and headers. The client sends nothing more before the response.</summary>
    static async Task<string> ReadRequestAsync(Stream stream, CancellationToken cancellationToken)
    {
        var request = new byte[RequestMaxBytes];
        var length = 0;
        while (length < request.Length && !request.AsSpan(0, length).EndsWith("\r\n\r\n"u8))
        {
            var read = await stream.ReadAsync(request.AsMemory(length, 1), cancellationToken).ConfigureAwait(false);
            if (read == 0)
            {
                break;
            }

            length += read;
        }

        return Encoding.ASCII.GetString(request, 0, length);
    }

    /// <summary>The client's key, or null and the reason if the request is not valid for MQTT.</summary>
    static (string? Key, string Refusal) Examine(string request)
    {
        var lines = request.Split("\r\n");
        var target = lines[0].Split(' ') is ["GET", var path, "HTTP/1.1"] ? path : "";
        var headers = lines.Skip(1).Select(line => line.Split(':', 2)).Where(parts => parts.Length == 2)
            .ToLookup(parts => parts[0].Trim(), parts => parts[1].Trim(), StringComparer.OrdinalIgnoreCase);
        string[] protocols = [.. headers["Sec-WebSocket-Protocol"].SelectMany(value => value.Split(',', StringSplitOptions.TrimEntries))];
        return (headers["Sec-WebSocket-Key"].FirstOrDefault(), target.Split('?')[0]) switch
        {
            (_, not Path) => (null, $"expected GET {Path}, not '{lines[0]}'"),
            (null, _) => (null, "there is no Sec-WebSocket-Key"),
            _ when headers["Sec-WebSocket-Version"].FirstOrDefault() != "13" => (null, "expected WebSocket version 13"),
            _ when !protocols.Contains(Protocol) =>
                (null, $"expected subprotocol '{Protocol}', not '{string.Join(", ", protocols)}'"),
            var (key, _) => (key, ""),
        };
    }

#pragma warning disable CA5350 // RFC 6455 prescribes SHA-1; nothing depends on its strength.
    static string Accept(string key) => Convert.ToBase64String(SHA1.HashData(Encoding.ASCII.GetBytes(key + KeySuffix)));
#pragma warning restore CA5350
}

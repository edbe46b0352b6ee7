using System.Diagnostics;
using EdgeSimulator.Modules;

namespace EdgeSimulator.Accounting;

/// <summary>Reasons why a reading may arrive again, as the report shows them.</summary>
internal static class Causes
{
    public const string Blackout = "a blackout cut the connection";
    public const string MqttPortBlocked = "port 8883 was blocked on command";
    public const string Killed = "the module was killed";
    public const string Exited = "the module exited unexpectedly";
    public const string Stopped = "the module stopped";
    public const string CutOnCommand = "the connection was cut on command";
    public const string HalfOpen = "the connection was half-open";
    public const string ConnectionLost = "the module's connection broke";
    public const string Disconnected = "the module disconnected with messages in flight";
    public const string TakenOver = "a newer connection took over";
    public const string TokenExpired = "the token expired";
    public const string LostPuback = "a PUBACK was lost on command";
    public const string LatePuback = "a PUBACK was late on command";
    public const string SwappedPubacks = "PUBACKs were swapped on command";
    public const string HubRestarted = "edgeHub was restarted";
    public const string CountersReset = "a restart of edgeHub reset the counters that show what has arrived";
    public const string LostByHub = "edgeHub lost messages, and its counters do not show which";
    public const string NoRoute = "edgeHub had no route for messages, and its counters do not show which";
    public const string NotAcknowledgedByCloud = "the cloud did not acknowledge a message, and edgeHub sent it again";
    public const string HttpAborted = "the module gave up waiting for the HTTP answer";
    public const string HttpStatus = "the HTTP endpoint answered an error on command";

    /// <summary>Whether the cause left the module unable to know which of its readings had arrived.</summary>
    public static bool IsDoubt(string? cause) => cause is CountersReset or LostByHub or NoRoute;

    public static string Of(ModuleEnd end) => end switch
    {
        ModuleEnd.Killed => Killed,
        ModuleEnd.Stopped => Stopped,
        ModuleEnd.Exited => Exited,
        _ => throw new UnreachableException($"module end {end}"),
    };
}

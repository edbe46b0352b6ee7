using System.Diagnostics;
using EdgeSimulator.Modules;

namespace EdgeSimulator.Accounting;

/// <summary>Why a reading may come twice, in the words of the report.</summary>
internal static class Causes
{
    public const string Blackout = "a blackout cut the connection";
    public const string MqttPortBlocked = "port 8883 was blocked on command";
    public const string Killed = "the module was killed";
    public const string Exited = "the module exited by itself";
    public const string Stopped = "the module stopped";
    public const string CutOnCommand = "the connection was cut on command";
    public const string HalfOpen = "the connection was half-open";
    public const string ConnectionLost = "the module's connection broke";
    public const string TakenOver = "a newer connection took over";
    public const string TokenExpired = "the token expired";
    public const string LostPuback = "a PUBACK was lost on command";
    public const string LatePuback = "a PUBACK was late on command";
    public const string SwappedPubacks = "PUBACKs were swapped on command";
    public const string HttpAborted = "the module gave up waiting for the HTTP answer";
    public const string HttpStatus = "the HTTP endpoint answered an error on command";

    public static string Of(ModuleEnd end) => end switch
    {
        ModuleEnd.Killed => Killed,
        ModuleEnd.Stopped => Stopped,
        ModuleEnd.Exited => Exited,
        _ => throw new UnreachableException($"module end {end}"),
    };
}

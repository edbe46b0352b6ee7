using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;

namespace SensorForwarder.Tests.Configuration;

/// <summary>A settings store over a real buffer, with the parts that settings are applied to. It can be restarted on the
/// same files.</summary>
/// <param name="inMemory">Keeps the buffer in memory, for speed.</param>
internal sealed class SettingsFixture(bool inMemory = false) : IAsyncDisposable
{
    readonly BufferFixture _files = new(inMemory);
    bool _stopped = true;

    /// <summary>The clock of the forwarder and the trial.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Records the file operations on the volume, and can make them fail.</summary>
    public Recorder? Volume { get; init; }

    public Dictionary<SinkKind, ISink> Sinks { get; } = [];

    public string Directory => _files.Directory;

    public TelemetryBuffer Buffer { get; private set; } = null!;

    public Forwarder Forwarder { get; private set; } = null!;

    public SensorScheduler Scheduler { get; private set; } = null!;

    public SettingsStore Store { get; private set; } = null!;

    public static CancellationToken Token => TestContext.Current.CancellationToken;

    public static SettingsParser NewParser(bool hasIdentity = true)
    {
        var defaults = new Settings { Forwarding = new() { Sink = hasIdentity ? SinkKind.IotHub : SinkKind.Http } };
        return new(defaults, hasIdentity, new(Module.SensorKinds, new(new("/proc", "/sys", "/tmp"), TimeProvider.System)), new(null, new Dictionary<string, string>()));
    }

    /// <summary>A store that applies settings to these parts.</summary>
    public static SettingsStore NewStore(TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler) => new(
        NewParser(), new(new LogLevelSwitch(LogLevel.Information), buffer, forwarder, scheduler), buffer, NullLogger<SettingsStore>.Instance);

    /// <param name="file">The settings file; null: it can't be read.</param>
    public async Task<SettingsFixture> StartAsync(string? file = null)
    {
        _stopped = false;
        if (Volume is not null) RecordingVfs.Attach(Directory, Volume);
        Buffer = await _files.OpenAsync(with: options => Volume is null
            ? options
            : options with { Vfs = RecordingVfs.Name, OnVolumeOperation = Volume.OnVolume });
        Forwarder = new(
            Buffer, Sinks, new("d", "m"), Clock, new Random(1), NullLogger<Forwarder>.Instance);
        Scheduler = new(
            new(new("/proc", "/sys", _files.Directory), TimeProvider.System), Buffer, TimeProvider.System, new Random(1),
            NullLogger<SensorScheduler>.Instance);
        Store = NewStore(Buffer, Forwarder, Scheduler);
        await Store.StartAsync(file is null ? null : Parse(file), Token);
        return this;
    }

    public async Task StopAsync()
    {
        if (_stopped) return;
        _stopped = true;
        Store.Dispose();
        await Scheduler.StopAsync(CancellationToken.None);
        Scheduler.Dispose();
        Forwarder.Dispose();
        await Buffer.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        if (Volume is not null) RecordingVfs.Detach(Directory);
        _files.Dispose();
    }

    public static JsonObject Parse(string document) =>
        DocumentReader.Read(Encoding.UTF8.GetBytes(document), out var problem) ?? throw new InvalidOperationException(problem);
}

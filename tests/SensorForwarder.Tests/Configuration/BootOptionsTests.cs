using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Tests.Configuration;

public sealed class BootOptionsTests
{
    static BootOptions Read(params (string Name, string Value)[] environment) => BootOptions.Read(
        new ConfigurationBuilder()
            .AddInMemoryCollection(environment.Select(pair =>
                KeyValuePair.Create(pair.Name.Replace("__", ":", StringComparison.Ordinal), (string?)pair.Value)))
            .Build());

    [Fact]
    public void Without_any_the_module_runs_without_a_hub_and_keeps_its_data_beside_it()
    {
        var boot = Read();
        Assert.Null(boot.Identity);
        Assert.Equal("data", boot.BufferDirectory);
        Assert.Equal(9600, boot.WebPort);
        Assert.Equal("SensorForwarder", boot.ModuleId);
        Assert.Equal(LogLevel.Information, boot.LogLevel);
    }

    [Theory]
    [InlineData("Web__Port", "http")]
    [InlineData("Web__Port", "65536")]
    [InlineData("Web__Port", "-1")]
    [InlineData("Http__Endpoint", "example.com/in")]
    [InlineData("Http__Endpoint", "ftp://example.com")]
    [InlineData("RuntimeLogLevel", "loud")]
    [InlineData("RuntimeLogLevel", "7")]
    public void A_malformed_one_is_named_with_its_value(string name, string value)
    {
        var message = Assert.Throws<BootValueException>(() => Read((name, value))).Message;
        Assert.StartsWith($"{name}: '{value}'", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("fatal", LogLevel.Critical)]
    [InlineData("error", LogLevel.Error)]
    [InlineData("warning", LogLevel.Warning)]
    [InlineData("info", LogLevel.Information)]
    [InlineData("debug", LogLevel.Debug)]
    [InlineData("verbose", LogLevel.Trace)]
    [InlineData("Information", LogLevel.Information)]
    public void The_log_levels_of_IoT_Edge_are_understood(string name, LogLevel level) =>
        Assert.Equal(level, Read(("RuntimeLogLevel", name)).LogLevel);

    [Fact]
    public void Headers_are_taken_by_name_and_secrets_are_never_printed()
    {
        var boot = Read(("Http__Authorization", "Bearer hunter2"), ("Http__Headers__X-Key", "hunter3"), ("Http__Endpoint", "http://a/"));
        Assert.Equal("hunter3", boot.Http.Headers["X-Key"]);
        Assert.DoesNotContain("hunter", boot.ToString(), StringComparison.Ordinal);
    }
}

// Stores the readings that arrive in IoT Hub exactly once in PostgreSQL. Settings of the function app:
//   ConnectionStrings__Readings   where the database is, as Npgsql reads it
//   IoTHub                        connection string of IoT Hub's built-in endpoint, or of an event hub
//   EventHub                      its Event Hub-compatible name
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Npgsql;
using PostgresReadings;

var builder = FunctionsApplication.CreateBuilder(args);
var connection = builder.Configuration.GetConnectionString("Readings")
    ?? throw new InvalidOperationException("ConnectionStrings__Readings is not set: name the database, such as Host=db;Database=readings");
builder.Services.AddSingleton(NpgsqlDataSource.Create(connection)).AddSingleton<ReadingTable>().AddSingleton<EventReceiver>();
await builder.Build().RunAsync();
